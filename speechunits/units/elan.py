"""Unit transcripts as ELAN annotation files (EAF 3.0), and back."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from speechunits.audio.elan import read_eaf
from speechunits.errors import InputRefused
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import Span, UnitTranscript, from_spans, piece_spans, seconds_text, unit_spans

TIER, PIECES_TIER = "units", "pieces"
_DURATION = "speechunits:duration_s"
"""ELAN's times are whole milliseconds, and it stores no duration: ours is kept as a property of the header."""
_TYPE = "speech-units"
_DATE = "1970-01-01T00:00:00+00:00"
"""The schema wants a date; a fixed one keeps equal transcripts equal bytes."""


def to_eaf(transcript: UnitTranscript, *, frames: bool = False, pseudotext: Pseudotext | None = None) -> str:
    """Return an ELAN file with a tier ``units``, and a tier ``pieces`` with ``pseudotext``; times to a millisecond."""
    spans = unit_spans(transcript, frames=frames)
    tiers = [(TIER, spans)]
    if pseudotext is not None:
        tiers.append((PIECES_TIER, piece_spans(spans, pseudotext)))
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "speechunits", "DATE": _DATE, "FORMAT": "3.0", "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )  # fmt: skip
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if transcript.audio is not None:
        audio = transcript.audio.resolve()
        media = {"MEDIA_URL": audio.as_uri(), "MIME_TYPE": _mime_type(audio)}
        ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    ET.SubElement(header, "PROPERTY", NAME=_DURATION).text = seconds_text(transcript.duration_s)
    order = ET.SubElement(root, "TIME_ORDER")
    slots: dict[int, str] = {}
    for time_ms in sorted({_ms(edge) for _, rows in tiers for span in rows for edge in (span.start_s, span.end_s)}):
        slots[time_ms] = f"ts{len(slots) + 1}"
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slots[time_ms], TIME_VALUE=str(time_ms))
    number = 0
    for name, rows in tiers:
        tier = ET.SubElement(root, "TIER", TIER_ID=name, LINGUISTIC_TYPE_REF=_TYPE)
        for span in rows:
            number += 1
            holder = ET.SubElement(tier, "ANNOTATION")
            where = {"TIME_SLOT_REF1": slots[_ms(span.start_s)], "TIME_SLOT_REF2": slots[_ms(span.end_s)]}
            aligned = ET.SubElement(holder, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **where})
            ET.SubElement(aligned, "ANNOTATION_VALUE").text = span.label
    ET.SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true", GRAPHIC_REFERENCES="false")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def from_eaf(path: Path) -> UnitTranscript:
    """Return the transcript in the tier ``units`` of an ELAN file.

    Raises
    ------
    InputRefused
        If there is no such tier, the file was not made by us, or what it holds are no units on frames.
    """
    found = read_eaf(path)
    spans = [Span(*row, None) for row in found.tier(TIER)]
    try:
        duration_s = float(found.properties[_DURATION])
    except (KeyError, ValueError) as error:
        raise InputRefused(
            f"the header must hold the duration as the property {_DURATION}, but does not; write it again with "
            "`speechunits transcribe`"
        ) from error
    return from_spans(path.stem, spans, duration_s)


def _ms(seconds: float) -> int:
    # Edges that meet are computed on two ways: only after rounding are 122.4999 and 122.5 the same millisecond.
    return round(1000 * round(seconds, 7))


def _mime_type(audio: Path) -> str:
    return {".wav": "audio/x-wav", ".mp3": "audio/mpeg"}.get(audio.suffix.lower(), "audio/*")
