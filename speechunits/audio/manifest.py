"""The manifest: one row a recording, as a TSV file with a header."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from speechunits.audio.load import AudioInfo, printable, probe
from speechunits.errors import InputRefused, UsageError
from speechunits.run import write_text

REQUIRED = ("id", "audio", "duration")
OPTIONAL = ("speaker", "split", "text", "start", "end")
DURATION_TOLERANCE_S = 0.05
_CSV_QUOTED = re.compile(r'"([^"]|"")*"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A recording, or a segment of one where ``start_s`` and ``end_s`` are given."""

    id: str
    audio: Path
    """File, resolved against the manifest's folder or root."""
    duration_s: float
    """Length of the recording, or of the segment."""
    speaker: str | None = None
    split: str | None = None
    """``train``, ``tune``, ``dev``, ``test``, or a corpus's own."""
    text: str | None = None
    """Transcript in Unicode NFC."""
    start_s: float | None = None
    end_s: float | None = None


def read_manifest(path: Path, root: Path | None = None) -> list[Recording]:
    """Read a manifest; relative audio paths are relative to ``root``, by default the manifest's folder.

    Columns are found by their names, in any order; other columns are left alone. Cells are plain text (no quotes).

    Raises
    ------
    UsageError
        If the file cannot be read or has faults: all of them are named with their lines.
    """
    rows, faults = read_table(path, REQUIRED, OPTIONAL)
    base = path.parent if root is None else root
    recordings: list[Recording] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        problems: list[str] = []
        recording = _recording(row, base, problems)
        faults += [f"line {line}: {problem}" for problem in problems]
        if recording is None:
            continue
        if recording.id in lines:
            faults.append(f"line {line}: the id {recording.id!r} must be unique, but line {lines[recording.id]} has it")
        lines.setdefault(recording.id, line)
        recordings.append(recording)
    raise_faults(path, faults)
    return recordings


def is_manifest(path: Path) -> bool:
    """Tell whether a file has the header of a manifest."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return set(REQUIRED) <= set(file.readline().rstrip("\r\n").split("\t"))
    except (OSError, UnicodeDecodeError):
        return False


def write_manifest(path: Path, recordings: Sequence[Recording], root: Path | None = None) -> None:
    """Write a manifest atomically, paths relative to ``root`` (by default the manifest's folder).

    Columns that are empty everywhere are left out.

    Raises
    ------
    UsageError
        If ids repeat, or a cell holds a tab or a newline: nothing is written.
    """
    base = (path.parent if root is None else root).resolve()
    faults: list[str] = []
    used = [column for column in OPTIONAL if any(_cell(recording, column) for recording in recordings)]
    lines, seen = ["\t".join((*REQUIRED, *used))], set()
    for recording in recordings:
        if recording.id in seen:
            faults.append(f"the id {recording.id!r} must be unique")
        seen.add(recording.id)
        audio = _audio_cell(recording, base)
        cells = [recording.id, audio, f"{recording.duration_s:.4f}", *(_cell(recording, column) for column in used)]
        if any(set(cell) & set("\t\n\r") for cell in cells):
            faults.append(f"{printable(recording.id)}: cells must not hold a tab or a newline; rename the file")
        lines.append("\t".join(cells))
    raise_faults(path, faults)
    write_text(path, "\n".join(lines) + "\n")


def nameable(path: Path, recordings: Sequence[Recording]) -> tuple[list[Recording], list[str]]:
    """Return the recordings that a manifest at ``path`` can name, and the refusals of the others.

    A link, or a folder above, may lead to a path that no line of UTF-8 between tabs can hold.
    """
    base, kept, refusals = path.parent.resolve(), [], []
    for recording in recordings:
        audio = _audio_cell(recording, base)
        # What is no UTF-8 comes back with other letters in its place.
        if audio.encode("utf-8", "replace").decode() == audio and not set(audio) & set("\t\n\r"):
            kept.append(recording)
        else:
            refusals.append(
                f"{printable(recording.id)}: its path, with links followed, is {printable(audio)}, which is not valid "
                "UTF-8 or holds a tab or a newline; rename the file or folder"
            )
    return kept, refusals


def _audio_cell(recording: Recording, base: Path) -> str:
    return os.path.relpath(recording.audio.resolve(), base)


def check_durations(
    recordings: Iterable[Recording], *, look: Callable[[Path], AudioInfo] = probe
) -> tuple[list[Recording], list[str], list[InputRefused]]:
    """Compare every duration with the file's header: usable recordings, warnings, and the refused ones' errors.

    A duration more than 50 ms off is named and replaced by the measured one.
    """
    usable, warnings, refused = [], [], []
    for recording in recordings:
        try:
            info = look(recording.audio)
        except InputRefused as error:
            refused.append(error)
            continue
        whole_s = info.duration_s
        warnings += [f"{recording.id}: {warning}" for warning in info.warnings]
        start_s = recording.start_s or 0.0
        end_s = whole_s if recording.end_s is None else recording.end_s
        if end_s > whole_s + DURATION_TOLERANCE_S or start_s >= end_s:
            refused.append(
                InputRefused(
                    f"{recording.id}: the segment {start_s:g}-{end_s:g} s must lie within the recording's "
                    f"0-{whole_s:.3f} s; correct start and end in the manifest"
                )
            )
            continue
        measured_s = min(end_s, whole_s) - start_s
        if abs(measured_s - recording.duration_s) > DURATION_TOLERANCE_S:
            warnings.append(
                f"{recording.id}: duration must be {measured_s:.3f} s, but is {recording.duration_s:.3f} s instead; "
                "the measured one is used"
            )
            usable.append(replace(recording, duration_s=measured_s))
        else:
            usable.append(recording)
    return usable, warnings, refused


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return the rows of a TSV file with a header, each with its line number, and the faults of its shape.

    Raises
    ------
    UsageError
        If the file cannot be read, is not UTF-8, or lacks a required column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{printable(path)} must be UTF-8 text, but is not: {error}; save it as UTF-8") from error
    # Not splitlines: it would also cut at characters that transcripts may hold, such as U+2028.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    columns = lines[0].split("\t")
    faults = [f"line 1: the column {name!r} is missing" for name in required if name not in columns]
    if faults:
        wanted = " ".join(required)
        raise_faults(
            path, [*faults, f"line 1: the header must name {wanted} between tabs, but is {lines[0]!r} instead"]
        )
    for name in columns:
        close = get_close_matches(name.lower(), optional, n=1, cutoff=0.75)
        if name not in (*required, *optional) and close:
            faults.append(f"line 1: unknown column {name!r}; did you mean {close[0]!r}?")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) != len(columns):
            faults.append(f"line {number}: must have {len(columns)} cells between tabs, but has {len(cells)} instead")
        else:
            rows.append((number, dict(zip(columns, cells, strict=True))))
    return rows, faults


def quoted(path: Path, recordings: Iterable[Recording]) -> list[str]:
    """Return a warning where texts are quoted as spreadsheets do it, who double quotation marks and quote commas."""
    found = [
        row for row in recordings if row.text and _CSV_QUOTED.fullmatch(row.text) and set(row.text[1:-1]) & set('",')
    ]
    if not found:
        return []
    first = f"first {printable(found[0].id)}: {found[0].text}"
    said = (
        f"{printable(path)}: {len(found)} texts look quoted as in CSV ({first}), and keep their quotation marks; where "
        "a spreadsheet put them there, save plain text between tabs"
    )
    return [said]


def raise_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise all faults of one file as a single error, if there are any."""
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise UsageError(f"{printable(path)}: {len(faults)} fault(s):\n{listed}")


def number(text: str) -> float | None:
    """Return a finite number of at least 0, or None where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _recording(row: dict[str, str], base: Path, faults: list[str]) -> Recording | None:
    faults += [f"{name} is empty" for name in ("id", "audio") if not row[name]]
    times: dict[str, float | None] = {}
    for name in ("duration", "start", "end"):
        text = row.get(name, "")
        times[name] = number(text) if text else None
        if times[name] is None and (text or name == "duration"):
            faults.append(f"{name} must be a number of seconds, but is {text!r} instead")
    duration_s, start_s, end_s = times["duration"], times["start"], times["end"]
    if start_s is not None and end_s is not None and start_s >= end_s:
        faults.append(f"start must be before end, but start is {start_s:g} and end {end_s:g}")
    if faults or duration_s is None:
        return None
    return Recording(
        id=row["id"], audio=base / row["audio"], duration_s=duration_s, speaker=row.get("speaker") or None,
        split=row.get("split") or None, text=unicodedata.normalize("NFC", row.get("text", "")) or None,
        start_s=start_s, end_s=end_s,
    )  # fmt: skip


def _cell(recording: Recording, column: str) -> str:
    if column in ("start", "end"):
        value = recording.start_s if column == "start" else recording.end_s
        return "" if value is None else f"{value:.4f}"
    text = {"speaker": recording.speaker, "split": recording.split, "text": recording.text}[column]
    return text or ""
