import io
from pathlib import Path

import pytest
from rich.console import Console

from speechunits.report.screen import summary_screen
from tests.report.example import CURVES, QUALITY, sentence, table


def shown(width=100, **parts):
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_screen(**parts))
    return console.file.getvalue()


def test_everything_is_there():
    made = table()
    text = shown(example=sentence(), quality=QUALITY, reduction=made, folder=Path("runs/x"))
    for part in ("casa", "|SIL", "MFCC k-means", "47.0", str(made.headline), "ahead of", "runs/x/asr.safetensors"):
        assert part in text


@pytest.mark.parametrize(
    "parts", [{}, {"quality": {}}, {"quality": {"units": {"clusters": 5}}}, {"example": sentence()}]
)
def test_missing_parts_are_left_out(parts):
    text = shown(**parts)
    assert "What to try next" in text
    assert "factor" not in text


def test_worse_units_are_said_to_be_worse():
    assert "not ahead of" in shown(quality={"units": QUALITY["MFCC k-means"], "mfcc": QUALITY["units"]})


def test_reason_in_place_of_a_factor():
    assert "too small to measure a factor" in shown(reduction=table(smoke=True)).lower()
    broken = {**CURVES, "untrained": {1: 0.9, 60: 0.8}, "logmel": {1: 0.9, 60: 0.8}}
    assert "undefined" in shown(reduction=table(broken))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_lines_fit_the_terminal(width):
    text = shown(width, example=sentence(), quality=QUALITY, reduction=table(), folder=Path("runs/demo"))
    command = "speechunits"
    assert all(len(line) <= width for line in text.splitlines() if command not in line)
