"""Where units change against where phones (or words) change: precision, recall, F1, over-segmentation, R-value.

R-value: Räsänen, Laine and Altosaar 2009: F1 can be raised by boundaries everywhere, R-value cannot. A hit is a pair of
boundaries within the tolerance, each used once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE_S = 0.02
_ROUNDING_S = 1e-6
"""Boundaries on 10 ms grids lie on the tolerance's edge: rounding must not decide."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How found boundaries agree with true ones."""

    hits: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        """Share of found boundaries that are true ones; 0 where none is found."""
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of true boundaries that are found; 0 where there is none."""
        return self.hits / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / (self.found + self.true) if self.found + self.true else 0.0

    @property
    def over_segmentation(self) -> float:
        """Found over true, less one."""
        return self.found / self.true - 1 if self.true else 0.0

    @property
    def r_value(self) -> float:
        """1 − (|r₁| + |r₂|) / 2: 1 where all boundaries are found and no other; it may be below 0."""
        over = self.over_segmentation
        first = math.hypot(1 - self.recall, over)
        second = (-over + self.recall - 1) / math.sqrt(2)
        return 1 - (abs(first) + abs(second)) / 2

    def to_tree(self) -> dict[str, float]:
        """Return the figures of a table."""
        return {
            "precision": self.precision, "recall": self.recall, "f1": self.f1, "r_value": self.r_value,
            "over_segmentation": self.over_segmentation, "found": self.found, "true": self.true,
        }  # fmt: skip


def segmentation(
    recordings: Iterable[tuple[Sequence[float], Sequence[float]]], *, tolerance_s: float = TOLERANCE_S
) -> Segmentation:
    """Score recordings, each its found and its true boundaries in seconds, in any order."""
    hits = found = true = 0
    for ours, theirs in recordings:
        hits += matches(ours, theirs, tolerance_s=tolerance_s)
        found += len(ours)
        true += len(theirs)
    return Segmentation(hits=hits, found=found, true=true)


def matches(found: Sequence[float], true: Sequence[float], *, tolerance_s: float = TOLERANCE_S) -> int:
    """Return the largest number of pairs of boundaries within the tolerance, each boundary in at most one pair.

    On a line, taking the earliest partner that is left is optimal.
    """
    ours, theirs = sorted(found), sorted(true)
    pairs = here = there = 0
    while here < len(ours) and there < len(theirs):
        distance = ours[here] - theirs[there]
        if abs(distance) <= tolerance_s + _ROUNDING_S:
            pairs += 1
            here += 1
            there += 1
        elif distance < 0:
            here += 1
        else:
            there += 1
    return pairs


def inner_boundaries(intervals: Sequence[tuple[float, float]], first_s: float, last_s: float) -> list[float]:
    """Return the distinct starts and ends of intervals in seconds that lie strictly between two times."""
    edges = np.unique(np.round([edge for interval in intervals for edge in interval], 6))
    return [float(edge) for edge in edges if first_s + _ROUNDING_S < edge < last_s - _ROUNDING_S]
