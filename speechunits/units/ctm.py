"""Unit transcripts as NIST's CTM, and back: ``name channel start duration unit confidence`` a line.

Source: NIST SCTK, "ctm" input format; lines that begin with ``;;`` are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from speechunits.audio.manifest import number
from speechunits.errors import InputRefused
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import Span, UnitTranscript, from_spans, piece_spans, seconds_text, unit_spans

_EMPTY = ";; no units in"


def to_ctm(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return a line a run (a frame with ``frames``, a piece with ``pseudotext``), confidence the mean margin.

    Times are exact, so that a reader finds every frame again. Spaces in names are written ``%20``, since they part
    the columns. A recording of no units is a comment.
    """
    name = escaped(transcript.id)
    spans = unit_spans(transcript, frames=frames)
    if pseudotext is not None:
        spans = piece_spans(spans, pseudotext)
    if not spans:
        return f"{_EMPTY} {name} {seconds_text(transcript.duration_s)}"
    return "\n".join(ctm_line(name, span) for span in spans)


def ctm_line(name: str, span: Span) -> str:
    """Return the line of a span; ``name`` holds no spaces."""
    margin = "" if span.margin is None else f" {span.margin:.4f}"
    return f"{name} 1 {seconds_text(span.start_s)} {seconds_text(span.end_s - span.start_s)} {span.label}{margin}"


def from_ctm(text: str) -> Iterator[UnitTranscript]:
    """Yield the transcripts of a CTM, in the order of their first lines.

    Raises
    ------
    InputRefused
        If a line is malformed, or what it holds are no units on frames.
    """
    spans: dict[str, list[Span]] = {}
    durations: dict[str, float] = {}
    for index, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if line.startswith(_EMPTY) and len(words) == 6:
            spans.setdefault(words[4], [])
            durations[words[4]] = number(words[5]) or 0.0
        if not words or line.startswith(";;"):
            continue
        start_s, length_s = (number(word) for word in words[2:4]) if len(words) in (5, 6) else (None, None)
        margin = number(words[5]) if len(words) == 6 else None
        if start_s is None or length_s is None or (len(words) == 6 and margin is None):
            raise InputRefused(
                f"line {index}: must be name, channel, start, duration, unit and perhaps confidence between spaces, "
                f"but is {line!r} instead"
            )
        end_s = round(start_s + length_s, 7)
        spans.setdefault(words[0], []).append(Span(start_s, end_s, words[4], margin))
        durations[words[0]] = end_s
    for name, rows in spans.items():
        yield from_spans(_unescaped(name), rows, durations[name])


def escaped(name: str) -> str:
    """Return a name without the spaces that part columns and the semicolon that begins a comment."""
    shown = re.sub(r"[\s%]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
    return f"%3B{shown[1:]}" if shown.startswith(";") else shown


def _unescaped(name: str) -> str:
    return re.sub(
        r"(?:%[0-9A-F]{2})+", lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), name
    )
