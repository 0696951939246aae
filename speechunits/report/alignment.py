"""A sentence, its phones and its units over time, as lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol


class PhoneInterval(Protocol):
    """An interval in which one phone is spoken."""

    @property
    def start_s(self) -> float:
        """Start in seconds."""

    @property
    def end_s(self) -> float:
        """End in seconds."""

    @property
    def label(self) -> str:
        """IPA."""


class UnitInterval(Protocol):
    """A run of one unit."""

    @property
    def start_s(self) -> float:
        """Start in seconds."""

    @property
    def end_s(self) -> float:
        """End in seconds."""

    @property
    def unit(self) -> int:
        """Number of the unit."""


class AlignedSentence(Protocol):
    """One sentence with its phones and its units."""

    @property
    def text(self) -> str:
        """Transcript."""

    @property
    def duration_s(self) -> float:
        """Seconds."""

    @property
    def phones(self) -> Sequence[PhoneInterval]:
        """In order of time."""

    @property
    def intervals(self) -> Sequence[UnitInterval]:
        """Runs of units, in order of time."""


LABELS = ("time", "phones", "units")
_LONGEST_COLUMN_S = 0.06
"""With longer columns most phones would have no room for their label."""


def aligned_blocks(sentence: AlignedSentence, width: int) -> list[tuple[str, str, str]]:
    """Return blocks of three lines (seconds, phones, units), each at most ``width`` columns, on one time scale.

    Every column is a fixed stretch of time, so that what stands above another was spoken at the same moment. A label
    without room is cut to a dot; ``|`` marks where an interval begins.
    """
    width = max(width, 20)
    shortest = min((unit.end_s - unit.start_s for unit in sentence.intervals), default=0.1)
    # The shortest run should hold its bar and two digits, but a column is never shorter than 1/3 of a frame.
    column_s = min(max(shortest / 3, 0.02 / 3), _LONGEST_COLUMN_S)
    # Stretched until the last block is as full as the others.
    columns = width * max(1, math.ceil(sentence.duration_s / column_s / width))
    column_s = sentence.duration_s / columns
    phones = _lane([(phone.start_s, phone.end_s, phone.label) for phone in sentence.phones], column_s, columns)
    units = _lane([(run.start_s, run.end_s, str(run.unit)) for run in sentence.intervals], column_s, columns)
    times = _ticks(column_s, columns)
    return [
        (times[start : start + width], phones[start : start + width], units[start : start + width])
        for start in range(0, columns, width)
    ]


def _lane(intervals: Sequence[tuple[float, float, str]], column_s: float, columns: int) -> str:
    lane = [" "] * columns
    for start_s, end_s, label in intervals:
        first = min(round(start_s / column_s), columns - 1)
        room = min(round(end_s / column_s), columns) - first - 1
        lane[first] = "|"
        shown = label if len(label) <= room else "·" * min(room, 1)
        lane[first + 1 : first + 1 + len(shown)] = shown
    return "".join(lane[:columns])


def _ticks(column_s: float, columns: int) -> str:
    line = [" "] * columns
    step_s = 0.25 if column_s < 0.03 else 0.5
    for index in range(int(columns * column_s / step_s) + 1):
        mark = f"{index * step_s:g} s"
        start = round(index * step_s / column_s)
        if start + len(mark) <= columns:
            line[start : start + len(mark)] = mark
    return "".join(line)
