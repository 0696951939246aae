"""A folder of mixed audio files into recordings: every file decoded once, every fault named with its remedy."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from speechunits.audio.beside import UNREAD_REMEDY, Beside, composed, shown_below
from speechunits.audio.load import printable, verify
from speechunits.audio.manifest import Recording
from speechunits.audio.written import WrittenTexts
from speechunits.errors import InputRefused, UsageError

SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
"""Names taken for audio, in any case."""
FOREIGN = (
    ".3g2", ".3gp", ".3gpp", ".aac", ".ac3", ".aifc", ".amr", ".ape", ".au", ".avi", ".caf", ".ds2", ".dss", ".flv",
    ".m2ts", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".sph",
    ".vob", ".w64", ".webm", ".wma", ".wmv",
)  # fmt: skip
"""Names of recordings that telephones, cameras and other programs make, and that are not read: named, not ignored."""
SPLITS = frozenset({"train", "dev", "test", "tune"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one file, and what to do about it."""

    path: str
    """Relative to the folder, unprintable characters escaped."""
    reason: str
    """The cause, and after a semicolon the remedy."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanResult:
    """What a folder holds."""

    recordings: list[Recording]
    faults: list[Fault]
    warnings: list[str]


def scan(
    folder: Path, *, labels: Path | None = None, on_progress: Callable[[float, str], None] | None = None
) -> ScanResult:
    """Verify every audio file below ``folder`` by decoding it, in the order of their paths, in bounded memory.

    The id is the file's name without suffix, or the whole relative path where names repeat. The transcript is read
    from ``NAME.txt`` beside ``NAME.wav``, or at the same place below ``labels``; what ``recognize`` or ``transcribe``
    wrote there is no transcript, and left out with a warning. Where all files lie in several
    sub-folders, the outermost one names the speaker (folders called train, dev, test name the split first).
    ``on_progress`` is called with the share of bytes done since the last call.

    Raises
    ------
    UsageError
        If the folder cannot be read or holds no audio file.
    """
    if not folder.is_dir():
        raise UsageError(f"{printable(folder)} must be a folder of recordings, but is not; check the path")
    faults: list[Fault] = []
    paths = audio_below(folder, lambda path, reason: faults.append(Fault(path=_shown(path, folder), reason=reason)))
    if not paths and faults and faults[0].path == ".":
        raise UsageError(f"{printable(folder)}: {faults[0].reason}")
    if not paths:
        said = "".join(f"\n  - {fault}" for fault in faults)
        raise UsageError(f"{printable(folder)} holds no audio file ({', '.join(SUFFIXES)}); check the path{said}")
    named = [path for path in paths if _valid_name(path.relative_to(folder), faults)]
    ids = _ids([path.relative_to(folder) for path in named], faults)
    places = _places(list(ids))
    total = sum(map(_bytes, named)) or 1
    texts = Beside(folder if labels is None else labels, (".txt",))
    written = WrittenTexts()
    recordings, warnings = [], []
    for relative, identifier in ids.items():
        path = folder / relative
        try:
            info = verify(path)
        except InputRefused as error:
            faults.append(Fault(path=str(relative), reason=str(error).removeprefix(f"{printable(path)}: ")))
        else:
            warnings += [f"{printable(relative)}: {warning}" for warning in info.warnings]
            split, speaker = places[relative]
            recording = Recording(id=identifier, audio=path, duration_s=info.duration_s, speaker=speaker, split=split)
            recordings.append(replace(recording, text=_text(texts, written, relative, faults)))
        if on_progress is not None:
            on_progress(_bytes(path) / total, str(relative))
    warnings += texts.leftover([path.relative_to(folder) for path in paths], known=written.has)
    faults += [Fault(path=printable(place), reason=reason) for place, reason in texts.unread.items()]
    faults.sort(key=lambda fault: fault.path)
    return ScanResult(recordings=recordings, faults=faults, warnings=[*warnings, *written.warnings()])


def audio_below(folder: Path, on_fault: Callable[[Path, str], None]) -> list[Path]:
    """Return the audio files below a folder in the order of their paths, without hidden ones and bins of deleted ones.

    ``on_fault`` hears of folders out of reach, and of recordings of a kind that is not read, unless an audio file of
    the same name lies beside them: the sound of a video, say.
    """

    def unread(error: OSError) -> None:
        on_fault(
            Path(os.fsdecode(error.filename)),
            f"the folder cannot be read ({error.strerror}); {UNREAD_REMEDY}",
        )

    shown = sorted(shown_below(folder, unread), key=os.fsencode)
    audio = [path for path in shown if path.suffix.lower() in SUFFIXES]
    converted = {(path.parent, composed(path.stem)) for path in audio}
    for path in shown:
        if path.suffix.lower() in FOREIGN and (path.parent, composed(path.stem)) not in converted:
            words = shlex.join(["ffmpeg", "-i", printable(path), printable(path.with_suffix(".wav"))])
            on_fault(path, f"{path.suffix} is not read; convert it to wav or flac, such as by `{words}`")
    return audio


def _shown(path: Path, folder: Path) -> str:
    return printable(path.relative_to(folder))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # A link to nothing, or out of reach: refused by name when its turn comes.
        return 0


def _valid_name(relative: Path, faults: list[Fault]) -> bool:
    try:
        relative.as_posix().encode("utf-8")
    except UnicodeEncodeError:
        faults.append(Fault(path=printable(relative), reason="the name is not valid UTF-8; rename the file or folder"))
        return False
    if any(c in "\t\n\r" for c in str(relative)):
        faults.append(
            Fault(path=printable(relative), reason="the name holds a tab or a newline; rename the file or folder")
        )
        return False
    return True


def _ids(paths: list[Path], faults: list[Fault]) -> dict[Path, str]:
    """Return a unique id for each path; of files that differ in their suffix only, the first is kept."""
    counts = Counter(path.stem for path in paths)
    ids: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for path in paths:
        identifier = path.stem if counts[path.stem] == 1 else path.with_suffix("").as_posix().replace("/", "_")
        if identifier in taken:
            reason = f"its id {identifier!r} is that of {taken[identifier]} too; keep one of them, or rename one"
            faults.append(Fault(path=str(path), reason=reason))
        else:
            taken[identifier] = path
            ids[path] = identifier
    return ids


def _places(paths: list[Path]) -> dict[Path, tuple[str | None, str | None]]:
    """Return (split, speaker) of each path, from the folders it lies in."""
    folders = {path: path.parts[:-1] for path in paths}
    outermost = {parts[0] if parts else "" for parts in folders.values()}
    splits: dict[Path, str | None] = dict.fromkeys(paths)
    if outermost and outermost <= SPLITS:
        splits = {path: parts[0] for path, parts in folders.items()}
        folders = {path: parts[1:] for path, parts in folders.items()}
    speakers = {parts[0] if parts else "" for parts in folders.values()}
    told_apart = len(speakers) > 1 and "" not in speakers
    return {path: (splits[path], folders[path][0] if told_apart else None) for path in paths}


def _text(texts: Beside, written: WrittenTexts, relative: Path, faults: list[Fault]) -> str | None:
    path = texts.find(relative)
    if path is None or not os.path.isfile(path) or written.has(path):  # noqa: PTH113 - Path.is_file raises
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = f"the transcript cannot be read ({error.strerror}); {UNREAD_REMEDY}"
        faults.append(Fault(path=str(relative.with_suffix(".txt")), reason=reason))
        return None
    except UnicodeDecodeError:
        faults.append(
            Fault(path=str(relative.with_suffix(".txt")), reason="the transcript is not UTF-8 text; save it as UTF-8")
        )
        return None
    return unicodedata.normalize("NFC", " ".join(text.split())) or None
