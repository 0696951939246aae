"""What is written down: commands that parse, settings that are there, files and targets that exist."""

import argparse
import dataclasses
import re
import shlex
import typing
from pathlib import Path

import pytest

from speechunits.cli import make_parser
from speechunits.config import RecipeConfig

ROOT = Path(__file__).resolve().parents[1]
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "recipes/**/*.yaml", "data_manifests/*.yaml")
    for path in ROOT.glob(pattern)
)
CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`|^(?: {4}|# {2,})(.+)$|^((?:speechunits|make) .+)$", re.MULTILINE)
"""A span, which may go on in the next line; a line of a block, or of a recipe's comment; a line between fences."""
LOG = ROOT / "LOG.md"
"""Its commands are those of their day."""


def commands(text, program):
    """Yield the words after a program's name of every command in a text, without what only stands for something."""
    joined = re.sub(r"\\\n\s*(?:#\s*)?", " ", text)
    for groups in CODE.findall(joined):
        code = re.sub(r"\s#\s.*", "", "".join(groups).replace("\n", " "))
        for command in re.split(r"\s(?:&&|\||;)\s", code):
            found = re.match(rf"(?:.*\s-m\s|.*/bin/)?{program} (.+)", command.strip())
            if found:
                yield shlex.split(re.sub(r"[\[\]…]|\.\.\.", " ", found[1]).replace("'", ""))


def subparser(words):
    """Return the parser of the command that words begin with, and the words that are left."""
    parser, rest = make_parser(), list(words)
    while True:
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups or not rest:
            return parser, rest
        name = rest.pop(0)
        if name.isupper() or name.startswith("-"):
            return parser, rest
        assert name in groups[0].choices, f"there is no command {' '.join(words)!r}"
        parser = groups[0].choices[name]


def is_setting(key):
    kind = RecipeConfig
    for name in key.split("."):
        if not dataclasses.is_dataclass(kind):
            return False
        hints = typing.get_type_hints(kind)
        if name not in hints:
            return False
        kind = next((part for part in typing.get_args(hints[name]) if dataclasses.is_dataclass(part)), hints[name])
    return True


@pytest.mark.parametrize("path", [path for path in TEXTS if path != LOG], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_settings_are_there(path):
    for words in commands(path.read_text(encoding="utf-8"), "speechunits"):
        parser, rest = subparser(words)
        options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
        unknown = [name for name in options if name not in parser._option_string_actions]
        assert not unknown, f"{path.name}: speechunits {' '.join(words)}: {unknown}"
        takes = {action.dest for action in parser._actions}
        given = (
            [word for word in rest if re.match(r"[a-z_]+(\.[a-z_]+)*=", word)]
            if takes & {"overrides", "recipes"}
            else []
        )
        unknown = [word for word in given if not is_setting(word.partition("=")[0])]
        assert not unknown, f"{path.name}: speechunits {' '.join(words)}: {unknown}"


def test_the_commands_of_the_readme_are_found():
    texts = (ROOT / "README.md", ROOT / "docs" / "results.md")
    found = [words for path in texts for words in commands(path.read_text(encoding="utf-8"), "speechunits")]
    assert len(found) > 25
    assert ["manifest", "my_folder", "-o", "my.tsv"] in found
    assert any("reduction.finetune.budget.hours=40" in words for words in found)
    assert is_setting("reduction.finetune.dropout")
    assert not is_setting("reduction.finetune.droput")
    assert not is_setting("reduction.finetune.dropout.more")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_targets_exist(path):
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands(text, "make"):
        assert words[0] in targets or "=" in words[0] or words[0].isupper(), f"{path.name}: make {' '.join(words)}"
    if path == LOG:
        return
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:recipes|results|docs|tests|benchmarks|data_manifests)/[\w./-]+\.\w+)`", text)
    missing = [name for name in linked if not (path.parent / name).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    modules = re.findall(r"\bbenchmarks\.([a-z_]+)`?\b", text)
    missing += [name for name in modules if not (ROOT / "benchmarks" / f"{name}.py").exists()]
    assert not missing, f"{path.name} names files that are not there: {missing}"


def test_every_formula_leads_to_a_function():
    """In docs/objectives.md ``folder/file.py: name`` and further names stand for what there is."""
    table, found = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8"), 0
    folders = [ROOT / "speechunits", ROOT / "speechunits" / "objectives"]
    for path, names in re.findall(r"`([\w/]+\.py): (\w+`(?:, `\w+`)*)", table):
        source = next((folder / path).read_text(encoding="utf-8") for folder in folders if (folder / path).exists())
        for name in re.findall(r"\w+", names):
            assert f"def {name}(" in source, f"{path}: {name}"
            found += 1
    assert found > 15
