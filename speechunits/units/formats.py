"""Unit transcripts as text, JSON lines and Praat TextGrid, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import InputRefused
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.sequence import Interval, Run, expanded, intervals, merged, runs

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class UnitTranscript:
    """The units of one recording."""

    id: str
    duration_s: float
    units: IntArray
    """``(S,)``, one a frame."""


def to_text(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return one line without its end: runs merged (all frames with ``frames``), or pseudo-text pieces of that."""
    units = transcript.units if frames else merged(transcript.units)
    return " ".join(map(str, units.tolist()) if pseudotext is None else pseudotext.encode(units.tolist()))


def from_text(line: str) -> IntArray:
    """Return the units of a line of text, merged or not as it was written.

    Raises
    ------
    InputRefused
        If a word is no unit.
    """
    try:
        units = np.array([int(word) for word in line.split()], np.int64)
    except ValueError as error:
        raise InputRefused(f"a line of units must be whole numbers between spaces, but is not: {error}") from error
    if (units < 0).any():
        raise InputRefused(f"units must be at least 0, but one is {units.min()}")
    return units


def to_json(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return one JSON object in a line: id, duration, runs with start and end in seconds; with ``frames`` all units."""
    value: dict[str, Any] = {
        "id": transcript.id,
        "duration_s": transcript.duration_s,
        "frames": len(transcript.units),
        "units": (transcript.units if frames else merged(transcript.units)).tolist(),
        "runs": [
            {"unit": run.unit, "frames": run.frames, "start_s": round(span.start_s, 7), "end_s": round(span.end_s, 7)}
            for run, span in zip(
                runs(transcript.units), intervals(transcript.units, transcript.duration_s), strict=True
            )
        ],
    }
    if pseudotext is not None:
        value["pieces"] = pseudotext.encode(value["units"])
    return json.dumps(value, ensure_ascii=False)


def from_json(line: str) -> UnitTranscript:
    """Return the transcript of a JSON line, one unit a frame.

    Raises
    ------
    InputRefused
        If the line is not what :func:`to_json` writes.
    """
    try:
        value = json.loads(line)
        sequence = [Run(int(run["unit"]), 0, int(run["frames"]) - 1) for run in value["runs"]]
        return UnitTranscript(id=value["id"], duration_s=float(value["duration_s"]), units=expanded(sequence))
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefused(f"a line of JSON must hold id, duration_s and runs, but does not: {error!r}") from error


def to_textgrid(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return a Praat TextGrid (long text format) with a tier ``units``, and a tier ``pieces`` with ``pseudotext``.

    Raises
    ------
    InputRefused
        If the recording has no duration: Praat refuses such files.
    """
    if transcript.duration_s <= 0:
        raise InputRefused(f"a TextGrid must last longer than 0 s, but {transcript.id} does not")
    spans = intervals(transcript.units, transcript.duration_s)
    if frames:
        # Numbered frames are all different, hence one interval each.
        edges = intervals(np.arange(len(transcript.units)), transcript.duration_s)
        spans = [edge._replace(unit=unit) for edge, unit in zip(edges, transcript.units.tolist(), strict=True)]
    tiers = [("units", [(span.start_s, span.end_s, str(span.unit)) for span in spans])]
    if pseudotext is not None:
        tiers.append(("pieces", _piece_spans(spans, pseudotext.encode([span.unit for span in spans]))))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0",
             f"xmax = {_s(transcript.duration_s)}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]  # fmt: skip
    for number, (name, rows) in enumerate(tiers, start=1):
        lines += _tier(number, name, rows or [(0.0, transcript.duration_s, "")], transcript.duration_s)
    return "\n".join(lines) + "\n"


def _piece_spans(spans: Sequence[Interval], pieces: Sequence[str]) -> list[tuple[float, float, str]]:
    rows, first = [], 0
    for piece in pieces:
        last = first + piece.count("-")
        rows.append((spans[first].start_s, spans[last].end_s, piece))
        first = last + 1
    return rows


def _tier(number: int, name: str, rows: Sequence[tuple[float, float, str]], duration_s: float) -> list[str]:
    lines = [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"', "        xmin = 0",
             f"        xmax = {_s(duration_s)}", f"        intervals: size = {len(rows)}"]  # fmt: skip
    for index, (start_s, end_s, label) in enumerate(rows, start=1):
        lines += [f"        intervals [{index}]:", f"            xmin = {_s(start_s)}",
                  f"            xmax = {_s(end_s)}", f'            text = "{label}"']  # fmt: skip
    return lines


def _s(seconds: float) -> str:
    """Return seconds to a tenth of a microsecond: samples and frame edges are exact, meeting edges equal."""
    return f"{seconds:.7f}".rstrip("0").rstrip(".")
