"""Pseudo-text as text: how its words are distributed, where frequent ones are, whether they end where words do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.phones import Phone
from speechunits.evaluation.boundaries import Segmentation, inner_boundaries, segmentation
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import Span, UnitTranscript, piece_spans, unit_spans

IntArray = NDArray[np.int64]

SHORTEST = 2
"""Units of the shortest piece that may be a word."""
_ZIPF_COUNT = 5
"""Pieces seen less often are left out of the slope: the tail of a rank plot is flat steps."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A recording's pieces and the runs of units they are made of."""

    id: str
    duration_s: float
    units: Sequence[Span]
    pieces: Sequence[Span]


def read_pieces(transcript: UnitTranscript, pseudotext: Pseudotext) -> Pieces:
    """Return the pieces of a transcript with their times."""
    spans = unit_spans(transcript)
    return Pieces(
        id=transcript.id, duration_s=transcript.duration_s, units=spans, pieces=piece_spans(spans, pseudotext)
    )


def zipf_slope(counts: Sequence[int]) -> float | None:
    """Return the least-squares slope of ln frequency over ln rank, -1 for Zipf's law; None for fewer than two ranks.

    Over pieces seen at least five times.
    """
    frequent = np.sort(np.array([count for count in counts if count >= _ZIPF_COUNT], np.float64))[::-1]
    if len(frequent) < 2:
        return None
    ranks = np.log(np.arange(1, len(frequent) + 1))
    return float(np.polyfit(ranks, np.log(frequent), 1)[0])


def piece_counts(recordings: Sequence[Pieces]) -> Counter[str]:
    """Return how often each piece occurs."""
    return Counter(span.label for recording in recordings for span in recording.pieces)


def candidates(recordings: Sequence[Pieces], *, count: int = 50, places: int = 20) -> list[dict[str, Any]]:
    """Return the most frequent pieces of two or more units: a linguist's word candidates, with where to hear them.

    Of equally frequent ones the longer comes first. ``places`` of each are named, spread over recordings.
    """
    found: dict[str, list[tuple[str, Span]]] = {}
    for recording in recordings:
        for span in recording.pieces:
            if span.label.count("-") + 1 >= SHORTEST:
                found.setdefault(span.label, []).append((recording.id, span))
    ordered = sorted(found, key=lambda label: (-len(found[label]), -label.count("-"), label))[:count]
    return [_candidate(label, found[label], places) for label in ordered]


def _candidate(label: str, heard: Sequence[tuple[str, Span]], places: int) -> dict[str, Any]:
    count = min(places, len(heard))
    shown = [heard[number * len(heard) // count] for number in range(count)]
    return {
        "piece": label,
        "count": len(heard),
        "recordings": len({name for name, _ in heard}),
        "mean_duration_s": round(float(np.mean([span.end_s - span.start_s for _, span in heard])), 4),
        "places": [
            {"id": name, "start_s": round(span.start_s, 4), "end_s": round(span.end_s, 4)} for name, span in shown
        ],
    }


def piece_segmentation(
    recordings: Sequence[Pieces], truth: Mapping[str, Sequence[Phone]], *, seed: int = 0
) -> dict[str, Segmentation]:
    """Score where pieces begin against where phones, or words, do; beside it, two segmentations that know no pieces.

    ``units``: every change of unit is a boundary. ``random``: as many of these as there are pieces, drawn by chance:
    what pieces must beat.
    """
    generator = np.random.default_rng(seed)
    pairs: dict[str, list[tuple[list[float], list[float]]]] = {"pieces": [], "units": [], "random": []}
    for recording in recordings:
        if not truth.get(recording.id):
            continue
        spoken = truth[recording.id]
        first_s, last_s = spoken[0].start_s, spoken[-1].end_s
        true = inner_boundaries([phone[:2] for phone in spoken], first_s, last_s)
        changes = [span.start_s for span in recording.units[1:]]
        starts = [span.start_s for span in recording.pieces[1:]]
        drawn = generator.permutation(len(changes))[: len(starts)].tolist()
        for name, edges in (("pieces", starts), ("units", changes), ("random", [changes[at] for at in drawn])):
            pairs[name].append((inner_boundaries([(edge, edge) for edge in edges], first_s, last_s), true))
    return {name: segmentation(found) for name, found in pairs.items()}
