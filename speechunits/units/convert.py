"""Transcripts of one format into another: without loss where both hold it, and else saying what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechunits.audio.load import printable
from speechunits.audio.written import record_converted
from speechunits.errors import InputRefused, UsageError
from speechunits.run import name_fits, path_inside, write_text
from speechunits.units.formats import FORMATS, Format, format_named, to_durations
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.reading import find_files, read_transcripts
from speechunits.units.transcript import UnitTranscript

_LOST = {
    "times": "how long each unit is (--frames keeps it in text)",
    "duration": "how long recordings are beyond their last frame",
    "confidence": "the margins to the second-nearest centroid",
    "name": "the names of the recordings (lines stay in order)",
}


@dataclass(kw_only=True)
class ConvertReport:
    """What became of the transcripts."""

    written: list[Path] = field(default_factory=list)
    transcripts: int = 0
    lost: list[str] = field(default_factory=list)
    """What the new format does not hold, in words."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """File and reason."""


def convert(
    source: Path,
    out: Path,
    form: str,
    *,
    source_form: str | None = None,
    frames: bool = False,
    pseudotext: Pseudotext | None = None,
    overwrite: bool = False,
) -> ConvertReport:
    """Convert the transcripts of a file or folder.

    ``out`` is one file where its name ends like the format's, else a folder of one file a recording. ``frames`` writes
    every frame, and reads text as one unit a frame. ``pseudotext`` writes its pieces, as ``transcribe --bpe`` does. A
    bad file is refused by name and never stops the rest.

    Raises
    ------
    UsageError
        If formats are unknown, ``out`` cannot hold several recordings, nothing can be read, or, without ``overwrite``,
        files that would be written are there already: then none is.
    """
    target, report = format_named(form), ConvertReport()
    if pseudotext is not None and not target.pieces:
        raise UsageError(f"{form} holds units, not pieces; write pieces as text, jsonl, ctm, textgrid or eaf")
    found: list[UnitTranscript] = []
    held: set[str] = set()
    for path, own in find_files(source, source_form):
        try:
            name = path.relative_to(source).with_suffix("").as_posix() if source.is_dir() else None
            read = read_transcripts(path, own, frames=frames, name=name)
            _check_times(read, target)
        except InputRefused as error:
            report.refused.append((printable(path), str(error)))
            continue
        found += read
        held |= set(FORMATS[own].holds)
    found = _distinct(found, report, source)
    held -= set() if any(row.margins is not None for row in found) else {"confidence"}
    held |= {"times"} if any(row.timed for row in found) else set()
    kept = target.holds | ({"times"} if frames else set())
    report.lost = [text for name, text in _LOST.items() if name in held - kept]
    groups = _groups(found, out, form, target, report)
    if not overwrite:
        _check_absent([path for path, _ in groups], out, form)
    if form == "text" and groups and groups[0][0] != out:
        # Beside recordings they would be taken for transcripts.
        record_converted(out, [path.relative_to(out).as_posix() for path, _ in groups])
    for path, rows in groups:
        _write(path, rows, form, report, frames=frames, named=path == out, pseudotext=pseudotext)
    return report


def _check_times(transcripts: Sequence[UnitTranscript], target: Format) -> None:
    if "times" in target.holds and target.suffix != ".units" and not all(row.timed for row in transcripts):
        raise InputRefused(
            "merged units do not tell how long each is, which this format needs; write them with --frames, "
            "and convert with --frames too"
        )


def _distinct(found: Sequence[UnitTranscript], report: ConvertReport, source: Path) -> list[UnitTranscript]:
    """Return the transcripts, the first of each name."""
    rows: dict[str, UnitTranscript] = {}
    for row in found:
        if row.id in rows:
            report.refused.append((printable(source), f"two transcripts are named {printable(row.id)!r}; rename one"))
        rows.setdefault(row.id, row)
    return list(rows.values())


def _groups(
    found: Sequence[UnitTranscript], out: Path, form: str, target: Format, report: ConvertReport
) -> list[tuple[Path, list[UnitTranscript]]]:
    """Return the files to write with their transcripts: all in ``out``, or one a transcript."""
    if out.suffix.lower() != target.suffix.lower() or out.is_dir():
        return _files(found, out, target.suffix, report)
    if target.alone and len(found) > 1:
        raise UsageError(
            f"a {form} file holds one recording, but there are {len(found)}; name a folder with -o instead"
        )
    return [(out, list(found))] if found else []


def _check_absent(paths: Sequence[Path], out: Path, form: str) -> None:
    """Raise UsageError where files are there that somebody may have written, or corrected."""
    beside = [path.with_suffix(suffix) for path in paths for suffix in format_named(form).beside]
    there = [path for path in (*paths, *beside) if path.exists()]
    if there:
        raise UsageError(
            f"{printable(out)}: files that would be written are there already ({len(there)}, first "
            f"{printable(there[0])}): somebody's own? Name another place, or add --overwrite"
        )


def _write(
    path: Path,
    rows: Sequence[UnitTranscript],
    form: str,
    report: ConvertReport,
    *,
    frames: bool,
    named: bool,
    pseudotext: Pseudotext | None,
) -> None:
    lines: list[str] = []
    kept: list[UnitTranscript] = []
    for row in rows:
        try:
            lines.append(_line(row, form, frames=frames, named=named, pseudotext=pseudotext))
        except InputRefused as error:
            report.refused.append((printable(row.id), str(error)))
            continue
        kept.append(row)
    if not kept:
        return
    beside = [path.with_suffix(suffix) for suffix in format_named(form).beside]
    for other in beside:
        # Those of other units would be read as if they were of these.
        other.unlink(missing_ok=True)
    write_text(path, "\n".join(lines).removesuffix("\n") + "\n")
    for other in beside if all(row.timed for row in kept) else ():
        write_text(other, "".join(to_durations(row, frames=frames) + "\n" for row in kept))
    report.written.append(path)
    report.transcripts += len(kept)


def _line(row: UnitTranscript, form: str, *, frames: bool, named: bool, pseudotext: Pseudotext | None) -> str:
    if (form == "textless" or (form == "text" and named)) and set(row.id) & set("\t\n\r"):
        raise InputRefused("the name holds a tab or a newline, which end a name in a line; rename it")
    text = format_named(form).write(row, frames=frames or not row.timed, pseudotext=pseudotext)
    return f"{row.id}\t{text}" if form == "text" and named else text


def _files(
    found: Sequence[UnitTranscript], out: Path, suffix: str, report: ConvertReport
) -> list[tuple[Path, list[UnitTranscript]]]:
    """Return the file of each transcript; names that no file in ``out`` may have are refused."""
    files = []
    for row in found:
        try:
            path = path_inside(out, row.id + suffix)
        except InputRefused as error:
            report.refused.append((printable(row.id), str(error)))
            continue
        if name_fits(path):
            files.append((path, [row]))
        else:
            reason = f"with {suffix} the name is longer than a file's may be (255 bytes); rename it"
            report.refused.append((printable(row.id), reason))
    return files
