"""Progress off a terminal is plain lines with what is left."""

import sys

import pytest
from rich.console import Console

from speechunits import progress as module
from speechunits.progress import progress, seconds_text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (48, "48 s"), (725, "12:05"), (10_930, "3:02:10")])
def test_seconds_text(seconds, text):
    assert seconds_text(seconds) == text


def test_plain_lines(capfd):
    with progress("reading", 4, every_s=0.0) as advance:
        advance(1, "")
        advance(3, "two refused")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("reading: 25 %")
    assert lines[-1] == "reading: 100 %, 0 s left two refused"


def test_shares_that_add_up_but_for_rounding_are_all(capsys):
    with progress("work", 1.0, every_s=1e9) as advance:
        for _ in range(10):
            advance(0.1, "")
    assert capsys.readouterr().err == "work: 100 %, 0 s left\n"


def test_names_with_brackets_are_no_markup(monkeypatch, capsys):
    class Terminal(Console):
        def __init__(self, **_):
            super().__init__(file=sys.stderr, force_terminal=True, width=120)

    monkeypatch.setattr(module, "Console", Terminal)
    with progress("frames of runs/[a]", 2) as advance:
        advance(1, "take[/b].wav")
    shown = capsys.readouterr().err
    assert "runs/[a]" in shown
    assert "take[/b].wav" in shown
