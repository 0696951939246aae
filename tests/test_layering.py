"""The house rules that a machine can check: import order, who may import fairseq2, sizes of files and functions."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "speechunits"
ORDER = [
    "errors", "hardware", "frames", "config", "progress", "processes", "run", "audio", "features", "encoder",
    "objectives", "learners", "units", "asr", "evaluation", "report", "engine",
    "pretraining", "fitting", "quality", "representation", "compute", "finetuning", "cell", "setting", "sweep",
    "tuning", "results", "rescoring", "estimate", "doctor", "pipeline", "comparison", "cli",
]  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(name: str) -> str | None:
    """Return the top-level part of a dotted name inside the package, None for the package itself."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else None


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
            if node.module == "speechunits":
                names.update(f"speechunits.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_leftwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        # The public API is lazy: what it imports, it imports inside functions.
        return
    for name in imported(path):
        other = part(name) if name.split(".")[0] == "speechunits" else None
        if other in ORDER:
            assert ORDER.index(other) <= ORDER.index(own), f"{path.name} ({own}) imports {name}"


def test_every_part_has_a_place_in_the_order():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert parts == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_engine_knows_fairseq2(path):
    roots = {name.split(".")[0] for name in imported(path)}
    if path.relative_to(PACKAGE).parts[0] != "engine":
        assert not roots & {"fairseq2", "fairseq2n", "wandb"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path.name}: {node.name} is longer than 60 lines"


def test_modules_have_docstrings_and_no_pickles():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert "pickle" not in imported(path)


def test_the_project_speaks_of_itself_alone():
    root = PACKAGE.parent
    texts = [path for pattern in ("*.md", "docs/*.md", "speechunits/**/*.py", "recipes/**/*.yaml", "Makefile")
             for path in root.glob(pattern)]  # fmt: skip
    assert len(texts) > 20
    for path in texts:
        assert "/work/" not in path.read_text(encoding="utf-8"), path
