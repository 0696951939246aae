"""Unit transcripts as Praat TextGrids, and back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from speechunits.audio.textgrid import read_textgrid
from speechunits.errors import InputRefused
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import Span, UnitTranscript, from_spans, piece_spans, seconds_text, unit_spans

TIER, PIECES_TIER, CANDIDATES_TIER = "units", "pieces", "word candidates"


def to_textgrid(
    transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None,
    candidates: Collection[str] = (),
) -> str:  # fmt: skip
    """Return a Praat TextGrid (long text format) with a tier ``units``, and a tier ``pieces`` with ``pseudotext``.

    With ``candidates``, a third tier names these pieces alone; between them it is empty.

    Raises
    ------
    InputRefused
        If the recording has no duration: Praat refuses such files.
    """
    if transcript.duration_s <= 0:
        raise InputRefused(f"a TextGrid must last longer than 0 s, but {transcript.id} does not")
    spans = unit_spans(transcript, frames=frames)
    tiers = [(TIER, spans)]
    if pseudotext is not None:
        pieces = piece_spans(spans, pseudotext)
        tiers.append((PIECES_TIER, pieces))
        if candidates:
            named = [span if span.label in candidates else span._replace(label="") for span in pieces]
            tiers.append((CANDIDATES_TIER, named))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0",
             f"xmax = {seconds_text(transcript.duration_s)}", "tiers? <exists>", f"size = {len(tiers)}",
             "item []:"]  # fmt: skip
    for number, (name, rows) in enumerate(tiers, start=1):
        whole = [Span(0.0, transcript.duration_s, "", None)]
        lines += _tier(number, name, rows or whole, transcript.duration_s)
    return "\n".join(lines) + "\n"


def from_textgrid(path: Path) -> UnitTranscript:
    """Return the transcript in the tier ``units`` of a TextGrid.

    Raises
    ------
    InputRefused
        If there is no such tier, or what it holds are no units on frames.
    """
    found = read_textgrid(path)
    spans = [Span(*row, None) for row in found.tier(TIER) if row.text]
    return from_spans(path.stem, spans, found.duration_s or 0.0)


def _tier(number: int, name: str, rows: Sequence[Span], duration_s: float) -> list[str]:
    lines = [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"', "        xmin = 0",
             f"        xmax = {seconds_text(duration_s)}", f"        intervals: size = {len(rows)}"]  # fmt: skip
    for index, span in enumerate(rows, start=1):
        lines += [f"        intervals [{index}]:", f"            xmin = {seconds_text(span.start_s)}",
                  f"            xmax = {seconds_text(span.end_s)}", f'            text = "{span.label}"']  # fmt: skip
    return lines
