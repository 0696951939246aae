"""Kaldi data folders: ``wav.scp``, and where they are there ``segments``, ``text`` and ``utt2spk``.

Source: Kaldi documentation, "Data preparation".
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from speechunits.audio.fairseq_manifest import text_lines
from speechunits.audio.load import printable, verify
from speechunits.audio.manifest import DURATION_TOLERANCE_S, Recording, number
from speechunits.audio.scan import SPLITS
from speechunits.errors import InputRefused
from speechunits.progress import progress

_ARCHIVE = re.compile(r"\.ark:\d+$")


def is_kaldi(folder: Path) -> bool:
    """Tell a Kaldi data folder from a folder of recordings."""
    return os.path.isfile(folder / "wav.scp")  # noqa: PTH113 - Path.is_file raises where the folder is out of reach


def read_kaldi(folder: Path) -> tuple[list[Recording], list[str], list[str]]:
    """Read a data folder: a row an utterance of ``segments``, or else a recording of ``wav.scp``; refusals, warnings.

    Every recording is decoded to its end.
    Relative paths are taken below ``folder`` where they are there, else below the current folder, as Kaldi takes them.
    A folder named ``train``, ``dev`` or ``test`` names the split. Pipes (``sox … |``) are never run: they are refused.

    Raises
    ------
    UsageError
        If a file of the folder cannot be read.
    """
    refusals: list[str] = []
    warnings: list[str] = []
    audio: dict[str, tuple[Path, float]] = {}
    listed = _table(folder / "wav.scp", refusals)
    with progress("verifying", len(listed)) as advance:
        for name, place in listed.items():
            try:
                path = _path(folder, place)
                info = verify(path)
                audio[name] = (path, info.duration_s)
                warnings += [f"wav.scp, {printable(name)}: {warning}" for warning in info.warnings]
            except InputRefused as error:
                refusals.append(f"wav.scp, {printable(name)}: {error}")
            advance(1, "")
    texts = _table(folder / "text", refusals, may_be_empty=True)
    speakers = _table(folder / "utt2spk", refusals)
    rows = []
    for name, (path, start_s, end_s, duration_s) in _utterances(folder, audio, refusals).items():
        rows.append(
            Recording(
                id=name, audio=path, duration_s=duration_s, start_s=start_s, end_s=end_s,
                speaker=speakers.get(name), split=folder.name if folder.name in SPLITS else None,
                text=unicodedata.normalize("NFC", " ".join(texts.get(name, "").split())) or None,
            )
        )  # fmt: skip
    utterances = {row.id for row in rows}
    for file, table in (("text", texts), ("utt2spk", speakers)):
        alone = [name for name in table if name not in utterances]
        if alone:
            warnings.append(
                f"{file}: {len(alone)} of {len(table)} names are those of no utterance here, and are not read: the "
                f"first is {printable(alone[0])}"
            )
    return rows, refusals, warnings


def _utterances(
    folder: Path, audio: dict[str, tuple[Path, float]], refusals: list[str]
) -> dict[str, tuple[Path, float | None, float | None, float]]:
    """Return file, start, end and duration of every utterance."""
    if not (folder / "segments").is_file():
        return {name: (path, None, None, duration_s) for name, (path, duration_s) in audio.items()}
    known = set(_table(folder / "wav.scp", []))
    found: dict[str, tuple[Path, float | None, float | None, float]] = {}
    for name, rest in _table(folder / "segments", refusals).items():
        words = rest.split()
        start_s = number(words[1]) if len(words) == 3 else None
        # -1: until the end of the recording.
        last_s = (
            -1.0 if len(words) == 3 and words[2] in ("-1", "-1.0") else number(words[2]) if len(words) == 3 else None
        )
        if start_s is None or last_s is None:
            refusals.append(f"segments, {name}: must be recording, start and end in seconds, but is {rest!r} instead")
            continue
        if words[0] not in audio:
            reason = "was refused" if words[0] in known else "is not in wav.scp"
            refusals.append(f"segments, {name}: its recording {words[0]} {reason}")
            continue
        path, whole_s = audio[words[0]]
        end_s = whole_s if last_s < 0 else min(last_s, whole_s)
        if start_s >= end_s or last_s > whole_s + DURATION_TOLERANCE_S:
            refusals.append(
                f"segments, {name}: {start_s:g}-{last_s:g} s must lie within the recording's 0-{whole_s:.3f} s"
            )
            continue
        found[name] = (path, start_s, end_s, end_s - start_s)
    return found


def _path(folder: Path, place: str) -> Path:
    if place.endswith("|"):
        raise InputRefused(
            f"{place!r} is a command (a pipe), and commands from data are not run; write its output to a file, and "
            "name that"
        )
    if _ARCHIVE.search(place):
        raise InputRefused(f"{place!r} is a place in an archive; extract it to an audio file (wav-copy), and name that")
    below = folder / place
    # Not Path.exists, which raises where a name is too long: that is to be said of this recording alone.
    return below if os.path.exists(below) else Path(place)  # noqa: PTH110


def _table(path: Path, refusals: list[str], *, may_be_empty: bool = False) -> dict[str, str]:
    """Return the first word of each line and the rest; nothing where the file is not there."""
    if not path.is_file() and path.name != "wav.scp":
        return {}
    table: dict[str, str] = {}
    for index, line in enumerate(text_lines(path), start=1):
        name, *rest = line.strip().split(maxsplit=1) or [""]
        if not name:
            continue
        if not rest and not may_be_empty:
            refusals.append(f"{path.name}, line {index}: must be a name and a value, but is {line.strip()!r} instead")
        elif name in table:
            refusals.append(f"{path.name}, line {index}: the name {name!r} must be unique")
        else:
            table[name] = rest[0] if rest else ""
    return table
