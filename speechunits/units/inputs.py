"""What a user wants transcribed: files, folders and manifests as one list of recordings under names that differ."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from speechunits.audio.load import printable
from speechunits.audio.manifest import read_manifest
from speechunits.audio.scan import SUFFIXES, audio_below
from speechunits.errors import UsageError
from speechunits.units.extract import OnFault


@dataclass(frozen=True, kw_only=True)
class Input:
    """One recording to transcribe."""

    name: str
    """Id of the manifest, or the path below the folder given, without suffix; also where the transcript goes."""
    audio: Path
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    """As the manifest has it."""


def find_inputs(paths: Iterable[Path], refuse: OnFault) -> list[Input]:
    """Return every recording that files, globs, folders and manifests name, under names that differ.

    A path that is not there and holds ``*``, ``?`` or ``[`` is a glob (``**`` for folders of any depth). A file goes by
    its stem; where files share one, by their paths below the folder they have in common. Names that are no valid UTF-8,
    hold a tab or a newline, or would lead out of a folder go to ``refuse``.
    """
    found: list[Input] = []
    files: list[Path] = []
    for path in _expanded(paths, refuse):
        if os.path.isdir(path):  # noqa: PTH112 - as in _expanded
            found += _folder(path, refuse)
        elif path.suffix == ".tsv":
            found += [
                Input(name=row.id, audio=row.audio, start_s=row.start_s, end_s=row.end_s, duration_s=row.duration_s)
                for row in read_manifest(path)
            ]
        else:
            found.append(Input(name=path.stem, audio=path))
            files.append(path)
    long_names = _long_names(files)
    found = [replace(item, name=long_names.get(item.audio, item.name)) for item in found]
    valid = [item for item in found if _is_valid(item, refuse)]
    counts = Counter(item.name for item in valid)
    # Several take.wav, take.flac: told apart by suffix, or refused if even that is the same.
    names: set[str] = set()
    distinct = []
    for item in valid:
        name = item.name if counts[item.name] == 1 else item.name + item.audio.suffix
        if name in names:
            refuse(
                name, f"another input has this name too ({printable(item.audio)}); transcribe it into another folder"
            )
            continue
        names.add(name)
        distinct.append(replace(item, name=name))
    return distinct


def read_list(lines: BinaryIO) -> list[Path]:
    """Return the paths of a list, one a line, as ``find`` prints them; empty lines count for nothing.

    Raises
    ------
    UsageError
        If it is no list of paths: the sound of a recording, perhaps.
    """
    found = []
    for line in lines:
        if b"\0" in line:
            raise UsageError(
                "`-` reads a list of paths, one a line, but standard input holds binary data: a recording? Name its "
                "file, or read raw sound with --stream"
            )
        if name := line.removesuffix(b"\n").removesuffix(b"\r"):
            found.append(Path(os.fsdecode(name)))
    return found


def _expanded(paths: Iterable[Path], refuse: OnFault) -> Iterator[Path]:
    for path in paths:
        # Where Path.exists raises, for a name too long or a folder out of reach, decoding is to say why.
        if os.path.exists(path) or not glob.has_magic(str(path)):  # noqa: PTH110 - see above
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True), key=os.fsencode)  # noqa: PTH207 - pathlib's needs a base
        if not matches:
            refuse(printable(path), "no file matches; check the path, and that the pattern is in quotes")
        # Of any depth, the files of a folder are found without it.
        yield from (Path(match) for match in matches if "**" not in path.parts or Path(match).is_file())


def _long_names(files: list[Path]) -> dict[Path, str]:
    """Return names for the files whose stem another file in another folder has too."""
    folders: dict[str, set[Path]] = defaultdict(set)
    for path in files:
        folders[path.stem].add(path.parent)
    shared = [path for path in files if len(folders[path.stem]) > 1]
    if not shared:
        return {}
    # Not Path.absolute, which keeps `..`; nor Path.resolve, which follows links: two of them are two names.
    places = {path: Path(os.path.abspath(path)) for path in shared}  # noqa: PTH100
    common = os.path.commonpath([place.parent for place in places.values()])
    return {path: place.relative_to(common).with_suffix("").as_posix() for path, place in places.items()}


def _folder(folder: Path, refuse: OnFault) -> list[Input]:
    audio = audio_below(folder, lambda path, reason: refuse(printable(path), reason))
    if not audio:
        refuse(printable(folder), f"holds no audio file ({', '.join(SUFFIXES)}); check the path")
    return [Input(name=path.relative_to(folder).with_suffix("").as_posix(), audio=path) for path in audio]


def _is_valid(item: Input, refuse: OnFault) -> bool:
    shown = printable(item.name)
    try:
        item.name.encode("utf-8")
    except UnicodeEncodeError:
        refuse(shown, "the name is not valid UTF-8; rename the file")
        return False
    if set(item.name) & set("\t\n\r"):
        refuse(shown, "the name holds a tab or a newline; rename the file")
        return False
    if PurePosixPath(item.name).is_absolute() or ".." in PurePosixPath(item.name).parts:
        refuse(shown, "the id would lead out of the output folder; rename it in the manifest")
        return False
    return True
