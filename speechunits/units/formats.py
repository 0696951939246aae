"""The formats of unit transcripts: what each is called, what it can hold, how one is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import InputRefused, UsageError
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.units.ctm import to_ctm
from speechunits.units.elan import to_eaf
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.sequence import Run, expanded, merged, runs
from speechunits.units.textgrid import to_textgrid
from speechunits.units.transcript import UnitTranscript, piece_spans, unit_spans

IntArray = NDArray[np.int64]


DURATIONS = ".durations"
"""textlesslib's file of how many frames each unit of a ``.units`` lasts."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of unit transcripts."""

    suffix: str
    write: Callable[..., str]
    """``(transcript, frames=, pseudotext=)`` → text, without the end of its last line where it is one line."""
    holds: frozenset[str] = frozenset()
    """Of ``times`` (of every unit), ``duration`` (of the recording), ``confidence`` and ``name``."""
    alone: bool = False
    """One recording is one file; else several can share one."""
    pieces: bool = True
    """Whether pseudo-text pieces can be written."""
    beside: tuple[str, ...] = ()
    """Suffixes of the further files of each, for which the units' own durations are written."""


def format_named(name: str) -> Format:
    """Return a format. Raises UsageError where there is none of this name."""
    if name not in FORMATS:
        raise UsageError(f"the format must be one of {', '.join(FORMATS)}, but is {name!r} instead")
    return FORMATS[name]


def to_text(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return one line without its end: runs merged (all frames with ``frames``), or pseudo-text pieces of that."""
    units = transcript.units if frames or not transcript.timed else merged(transcript.units)
    return " ".join(map(str, units.tolist()) if pseudotext is None else pseudotext.encode(units.tolist()))


def to_km(transcript: UnitTranscript, *, frames: bool = True, pseudotext: Pseudotext | None = None) -> str:
    """Return one line of fairseq's ``.km``: every frame, whatever ``frames`` says, and no name."""
    del frames, pseudotext
    return " ".join(map(str, transcript.units.tolist()))


def to_textless(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return one line of textlesslib's ``.units``: name, tab, units; their durations go to :func:`to_durations`."""
    del pseudotext
    return f"{transcript.id}\t{to_text(transcript, frames=frames)}"


def to_durations(transcript: UnitTranscript, *, frames: bool = False) -> str:
    """Return one line of textlesslib's ``.durations``: name, tab, frames of each of the units of ``.units``."""
    lengths = [1] * len(transcript.units) if frames else [run.frames for run in runs(transcript.units)]
    return f"{transcript.id}\t{' '.join(map(str, lengths))}"


def from_text(line: str) -> IntArray:
    """Return the units of a line of text, merged or not as it was written.

    Raises
    ------
    InputRefused
        If a word is no unit.
    """
    try:
        units = np.array([int(word) for word in line.split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise InputRefused(f"a line of units must be whole numbers between spaces, but is not: {error}") from error
    if (units < 0).any():
        raise InputRefused(f"units must be at least 0, but one is {units.min()}")
    return units


def to_json(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return one JSON object in a line: id, duration, runs with start, end and margin; with ``frames`` every frame."""
    spans = unit_spans(transcript)
    rows: list[dict[str, Any]] = []
    for run, span in zip(runs(transcript.units), spans, strict=True):
        row = {"unit": run.unit, "frames": run.frames, "start_s": round(span.start_s, 7), "end_s": round(span.end_s, 7)}
        rows.append(row if span.margin is None else {**row, "margin": round(span.margin, 4)})
    value: dict[str, Any] = {
        "id": transcript.id,
        "duration_s": transcript.duration_s,
        "frames": len(transcript.units),
        "units": (transcript.units if frames else merged(transcript.units)).tolist(),
        "runs": rows,
    }
    if frames and transcript.margins is not None:
        value["margins"] = [round(margin, 4) for margin in transcript.margins.tolist()]
    if pseudotext is not None:
        value["pieces"] = [span.label for span in piece_spans(unit_spans(transcript, frames=frames), pseudotext)]
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
        units = expanded(sequence)
        margins = value.get("margins")
        if margins is None and sequence and all("margin" in run for run in value["runs"]):
            margins = np.repeat([float(run["margin"]) for run in value["runs"]], [run.frames for run in sequence])
        duration_s = float(value["duration_s"])
        if (units < 0).any():
            raise ValueError(f"units must be at least 0, but one is {units.min()}")
        if not 0 <= duration_s < math.inf or frame_count(round(duration_s * SAMPLE_RATE_HZ)) != len(units):
            raise ValueError(f"{duration_s:g} s have another number of frames than the {len(units)} that are written")
        return UnitTranscript(
            id=str(value["id"]), duration_s=duration_s, units=units,
            margins=None if margins is None else np.asarray(margins, np.float32).reshape(units.shape),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputRefused(
            "a line of JSON must hold id, duration_s, and runs of unit and frames, as `transcribe --format jsonl` "
            f"writes it, but {_json_fault(line, error)}"
        ) from error


def _json_fault(line: str, error: Exception) -> str:
    if not line.strip():
        return "is empty"
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON ({error.msg}, at character {error.pos + 1})"
    if not line.strip().startswith("{"):
        return "is no object in braces"
    return f"{error} is missing" if isinstance(error, KeyError) else f"does not ({error})"


_TIMED = frozenset({"times", "duration"})
FORMATS: Mapping[str, Format] = {
    "text": Format(suffix=".txt", write=to_text, holds=frozenset({"name"})),
    "jsonl": Format(suffix=".jsonl", write=to_json, holds=_TIMED | {"confidence", "name"}),
    "ctm": Format(suffix=".ctm", write=to_ctm, holds=_TIMED | {"confidence", "name"}),
    "textgrid": Format(suffix=".TextGrid", write=to_textgrid, holds=_TIMED | {"name"}, alone=True),
    "eaf": Format(suffix=".eaf", write=to_eaf, holds=_TIMED | {"name"}, alone=True),
    "km": Format(suffix=".km", write=to_km, holds=frozenset({"times"}), pieces=False),
    "textless": Format(
        suffix=".units", write=to_textless, holds=frozenset({"times", "name"}), pieces=False, beside=(DURATIONS,)
    ),
}
"""Every format, by the name the command line calls it; ``text`` holds times with ``frames``."""
