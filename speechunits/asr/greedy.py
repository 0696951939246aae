"""Greedy CTC decoding: the best symbol of each frame, repeats merged, blanks dropped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from speechunits.objectives.ctc import BLANK


class Spike(NamedTuple):
    """A token and the run of frames that spells it."""

    token: int
    first: int
    last: int
    """Included."""


def spikes(labels: Sequence[int]) -> list[Spike]:
    """Return the tokens of a path of frame labels with their frames."""
    found = []
    position = 0
    for label, run in itertools.groupby(labels):
        size = sum(1 for _ in run)
        if label != BLANK:
            found.append(Spike(label, position, position + size - 1))
        position += size
    return found


def collapse(labels: Sequence[int]) -> list[int]:
    """Return the tokens of a path of frame labels: the map B of Graves et al. 2006, §3.1."""
    return [spike.token for spike in spikes(labels)]
