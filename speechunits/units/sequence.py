"""Units in time: runs of one unit, their durations and edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechunits.frames import frame_edges_s

IntArray = NDArray[np.int64]


class Run(NamedTuple):
    """A unit repeated over the frames ``first..last``, both included."""

    unit: int
    first: int
    last: int

    @property
    def frames(self) -> int:
        """Duration in frames."""
        return self.last - self.first + 1


class Interval(NamedTuple):
    """A run in seconds."""

    unit: int
    start_s: float
    end_s: float


def runs(units: IntArray) -> list[Run]:
    """Return the runs of the ``(S,)`` units, in order."""
    if len(units) == 0:
        return []
    starts = np.concatenate(([0], np.flatnonzero(np.diff(units)) + 1))
    ends = np.concatenate((starts[1:], [len(units)])) - 1
    return [Run(*row) for row in zip(units[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)]


def merged(units: IntArray) -> IntArray:
    """Return the ``(S,)`` units with repetitions merged."""
    if len(units) == 0:
        return units
    return units[np.concatenate(([True], np.diff(units) != 0))]


def expanded(sequence: Sequence[Run]) -> IntArray:
    """Return the units a frame that runs stand for; the inverse of :func:`runs`."""
    return np.repeat(
        np.array([run.unit for run in sequence], np.int64), np.array([run.frames for run in sequence], np.int64)
    )


def intervals(units: IntArray, duration_s: float) -> list[Interval]:
    """Return the runs of the ``(S,)`` units of a recording in seconds; they meet, and cover ``[0, duration_s]``."""
    return [
        Interval(run.unit, *frame_edges_s(run.first, run.last, total=len(units), duration_s=duration_s))
        for run in runs(units)
    ]
