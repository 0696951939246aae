"""What is known of the units of one recording, and its labelled stretches of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import InputRefused
from speechunits.frames import HOP, RECEPTIVE_FIELD, SAMPLE_RATE_HZ, frame_count, frame_edges_s
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.sequence import Run, expanded, runs

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

_MOST_DIGITS = 18
"""Of a unit: what 64 bits hold."""
_EDGE_TOLERANCE_S = 0.002
"""How far a written edge may lie from an edge of a frame: ELAN rounds to a millisecond."""


@dataclass(frozen=True, kw_only=True)
class UnitTranscript:
    """The units of one recording."""

    id: str
    duration_s: float
    units: IntArray
    """``(S,)``, one a frame; one a run where ``timed`` is false."""
    margins: FloatArray | None = None
    """``(S,)`` in [0, 1], how much nearer the nearest centroid is than the second: 1 - d1 / d2; None if not known."""
    audio: Path | None = None
    """The whole recording, where known: ELAN opens it beside its tiers."""
    timed: bool = True
    """False for what was read from merged text: how long units are, and the recording is, is not known."""


class Span(NamedTuple):
    """A label and its time."""

    start_s: float
    end_s: float
    label: str
    margin: float | None
    """Mean over its frames."""


def unit_spans(transcript: UnitTranscript, *, frames: bool = False) -> list[Span]:
    """Return the runs of a transcript, or with ``frames`` every frame; they meet and cover the recording."""
    units = transcript.units
    if not frames:
        found = [(run.first, run.last, run.unit) for run in runs(units)]
    else:
        found = [(frame, frame, unit) for frame, unit in enumerate(units.tolist())]
    return [
        Span(
            *frame_edges_s(first, last, total=len(units), duration_s=transcript.duration_s),
            str(unit),
            None if transcript.margins is None else float(transcript.margins[first : last + 1].mean()),
        )
        for first, last, unit in found
    ]


def piece_spans(spans: Sequence[Span], pseudotext: Pseudotext) -> list[Span]:
    """Return the pseudo-text pieces of spans of units, each from its first unit to its last."""
    rows, first = [], 0
    for piece in pseudotext.encode([int(span.label) for span in spans]):
        last = first + piece.count("-")
        own = [span.margin for span in spans[first : last + 1] if span.margin is not None]
        margin = sum(own) / len(own) if own else None
        rows.append(Span(spans[first].start_s, spans[last].end_s, piece, margin))
        first = last + 1
    return rows


def from_spans(name: str, spans: Sequence[Span], duration_s: float, *, audio: Path | None = None) -> UnitTranscript:
    """Return the transcript, one unit a frame, that :func:`unit_spans` gave ``spans`` of.

    Raises
    ------
    InputRefused
        If labels are no units, or times do not fit the frames of a recording of ``duration_s``.
    """
    if not 0 <= duration_s < math.inf:
        raise InputRefused(f"{name}: the duration must be a finite number of seconds, but is {duration_s} instead")
    total = frame_count(round(duration_s * SAMPLE_RATE_HZ))
    sequence, margins, first = [], [], 0
    for index, span in enumerate(spans):
        if not span.label.isascii() or not span.label.isdigit():
            raise InputRefused(f"{name}: units must be whole numbers of at least 0, but {span.label!r} is written")
        if len(span.label) > _MOST_DIGITS:
            raise InputRefused(f"{name}: units must have at most {_MOST_DIGITS} digits, but {span.label} is written")
        last = total - 1 if index == len(spans) - 1 else _edge_frame(span.end_s) - 1
        start_s, end_s = frame_edges_s(first, last, total=total, duration_s=duration_s) if total else (0.0, 0.0)
        if last < first or max(abs(start_s - span.start_s), abs(end_s - span.end_s)) > _EDGE_TOLERANCE_S:
            raise InputRefused(
                f"{name}: units must meet at edges of 20 ms frames and cover the recording, but {span.label} at "
                f"{span.start_s:g}-{span.end_s:g} s does not; was the file changed by hand, or made by another program?"
            )
        sequence.append(Run(int(span.label), first, last))
        margins += [span.margin] * (last - first + 1)
        first = last + 1
    if first != total:
        raise InputRefused(f"{name}: units must cover {total} frames ({duration_s:g} s), but none is written")
    known = margins and None not in margins
    return UnitTranscript(
        id=name, duration_s=duration_s, units=expanded(sequence), audio=audio,
        margins=np.array(margins, np.float32) if known else None,
    )  # fmt: skip


def shortest_duration_s(frames: int) -> float:
    """Return the duration of the shortest recording of so many frames: for formats that tell frames only."""
    return (HOP * (frames - 1) + RECEPTIVE_FIELD) / SAMPLE_RATE_HZ if frames else 0.0


def _edge_frame(edge_s: float) -> int:
    """Return the frame that begins at an edge between frames."""
    return round((edge_s * SAMPLE_RATE_HZ - (RECEPTIVE_FIELD - HOP) / 2) / HOP)


def seconds_text(seconds: float) -> str:
    """Return seconds to a tenth of a microsecond: samples and frame edges are exact, meeting edges equal."""
    return f"{seconds:.7f}".rstrip("0").rstrip(".")
