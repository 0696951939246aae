"""An installed package holds the page's template, style and script."""

import shutil
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = {"page.html.j2", "parts.html.j2", "page.css", "page.js"}


def test_the_files_are_found_as_package_data():
    folder = resources.files("speechunits.report.page") / "template"
    assert {file.name for file in folder.iterdir()} == FILES


@pytest.mark.slow
def test_a_wheel_has_them(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "speechunits", source / "speechunits", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
    assert {f"speechunits/report/page/template/{name}" for name in FILES} <= names
