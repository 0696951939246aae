"""Unit transcripts out of files of any format that can be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechunits.audio.load import printable
from speechunits.errors import InputRefused, UsageError
from speechunits.units.ctm import from_ctm
from speechunits.units.elan import from_eaf
from speechunits.units.formats import DURATIONS, FORMATS, format_named, from_json, from_text
from speechunits.units.sequence import Run, expanded
from speechunits.units.textgrid import from_textgrid
from speechunits.units.transcript import UnitTranscript, shortest_duration_s


def format_of(path: Path) -> str:
    """Return the format that a file's name ends like. Raises UsageError where it is none's."""
    for name, form in FORMATS.items():
        if path.suffix.lower() == form.suffix.lower():
            return name
    known = ", ".join(form.suffix for form in FORMATS.values())
    raise UsageError(f"{printable(path)} must end in one of {known}, or its format be named with --from")


def read_transcripts(path: Path, form: str, *, frames: bool = False, name: str | None = None) -> list[UnitTranscript]:
    """Read every transcript of a file; ``frames`` says that text holds one unit a frame, which text itself cannot.

    Durations that a format does not hold are those of the shortest recording with as many frames, names those of the
    file, or ``name``; numbered, where there are several.

    Raises
    ------
    InputRefused
        If the file cannot be read, or a line of it is not of the format: file and line are named.
    """
    format_named(form)
    stem = path.stem if name is None else name
    if form in ("textgrid", "eaf"):
        return [replace(from_textgrid(path) if form == "textgrid" else from_eaf(path), id=stem)]
    if form == "ctm":
        try:
            return list(from_ctm(_read(path)))
        except InputRefused as error:
            raise InputRefused(f"{printable(path)}: {error}") from error
    lines = _lines(path)
    lengths = (
        _lines(path.with_suffix(DURATIONS)) if form == "textless" and path.with_suffix(DURATIONS).exists() else None
    )
    if lengths is not None and len(lengths) != len(lines):
        raise InputRefused(
            f"{printable(path.with_suffix(DURATIONS))} must have {len(lines)} lines, but has {len(lengths)} instead"
        )
    found = []
    for index, line in enumerate(lines):
        own = stem if len(lines) == 1 else f"{stem}-{index + 1:0{len(str(len(lines)))}d}"
        try:
            if form == "jsonl":
                found.append(from_json(line))
            else:
                timed = frames or form == "km"
                found.append(_from_line(line, own, None if lengths is None else lengths[index], timed=timed))
        except InputRefused as error:
            raise InputRefused(f"{printable(path)}, line {index + 1}: {error}") from error
    return found


def _from_line(line: str, name: str, durations: str | None, *, timed: bool) -> UnitTranscript:
    named, tab, rest = line.rpartition("\t")
    units = from_text(rest)
    if durations is not None:
        lengths = from_text(durations.rpartition("\t")[2])
        if len(lengths) != len(units) or (lengths < 1).any():
            raise InputRefused(
                f"{DURATIONS} must hold {len(units)} numbers of at least 1, but holds {len(lengths)} numbers"
                + (f", the least {lengths.min()}" if len(lengths) else "")
            )
        units = expanded([Run(unit, 0, int(length) - 1) for unit, length in zip(units, lengths, strict=True)])
    timed = timed or durations is not None
    return UnitTranscript(
        id=named if tab else name, duration_s=shortest_duration_s(len(units)) if timed else 0.0,
        units=np.asarray(units, np.int64), timed=timed,
    )  # fmt: skip


def find_files(source: Path, form: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the files of ``source`` (a file, or a folder searched) with their formats.

    Raises
    ------
    UsageError
        If it is not there, or a folder holds no transcripts, or those of several formats and ``form`` is None.
    """
    if not source.exists():
        raise UsageError(f"{printable(source)} does not exist; check the path")
    if not source.is_dir():
        yield source, form or format_of(source)
        return
    suffixes = {own.suffix.lower(): name for name, own in FORMATS.items() if form in (None, name)}
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    formats = sorted({suffixes[path.suffix.lower()] for path in files})
    if len(formats) != 1:
        there = f"those of several formats ({', '.join(formats)}); name one with --from" if formats else "none"
        raise UsageError(f"{printable(source)} must hold transcripts of one format, but holds {there}")
    for path in files:
        yield path, formats[0]


def _lines(path: Path) -> list[str]:
    return _read(path).removesuffix("\n").split("\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputRefused(f"cannot read {printable(path)}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputRefused(f"{printable(path)} must be UTF-8 text, but is not: {error}; save it as UTF-8") from error
