"""Files that go with recordings by their names, such as transcripts: found whatever the case of their suffixes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from speechunits.audio.load import printable

UNREAD_REMEDY = "check its permissions, and the disk it is on"


class Beside:
    """The files below a folder that have one of some suffixes; each folder is looked at once.

    Names are compared in Unicode NFC where none is the same byte by byte: file systems and programs for copying
    disagree about the form of an accented letter, and people cannot see it.
    """

    def __init__(self, folder: Path, suffixes: Collection[str]) -> None:
        self.folder = folder
        self.unread: dict[Path, str] = {}
        """Folders that are there, but cannot be read, and why."""
        self._suffixes = [suffix.lower() for suffix in suffixes]
        self._shown = " or ".join(suffixes)
        self._names: dict[Path, dict[tuple[str, str], str]] = {}
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, relative: Path) -> Path | None:
        """Return the file at a recording's place and of its name but for the suffix; None where there is none."""
        place = self.folder
        for part in relative.parent.parts:
            place = self._below(place, part)
        if place not in self._names:
            self._names[place] = self._listed(place)
        for stem in (relative.stem, composed(relative.stem)):
            names = [self._names[place].get((stem, suffix)) for suffix in self._suffixes]
            found = next((place / name for name in names if name is not None), None)
            if found is not None:
                return found
        return None

    def leftover(
        self, recordings: Iterable[Path], *, flat: bool = False, known: Callable[[Path], bool] = lambda _: False
    ) -> list[str]:
        """Return what is to be said of the files that go with none of the recordings, by their relative paths.

        With ``flat`` a file in :attr:`folder` itself may be that of a recording in any folder. Nothing is said of those
        that are ``known``.
        """
        places = [place for path in recordings for place in ([path, Path(path.name)] if flat else [path])]
        taken = {found for place in places if (found := self.find(place)) is not None}
        beside = {(path.parent, composed(path.stem)): path for path in taken}
        files = [path for path in shown_below(self.folder) if path.suffix.lower() in self._suffixes]
        left = sorted((path for path in files if path not in taken and not known(path)), key=os.fsencode)
        doubled = [path for path in left if (path.parent, composed(path.stem)) in beside]
        said = []
        if doubled:
            other = beside[doubled[0].parent, composed(doubled[0].stem)]
            said.append(
                f"{len(doubled)} {self._shown} files are not read, since another one of their name is: the first is "
                f"{self._name(doubled[0])} ({printable(other.name)} is read)"
            )
        alone = [path for path in left if (path.parent, composed(path.stem)) not in beside]
        if alone:
            said.append(
                f"{len(alone)} {self._shown} files are not read, since they have no recording's name, or not its "
                f"folder: the first is {self._name(alone[0])}{self._alike(alone, places)}"
            )
        return [f"{printable(self.folder)}: {line}" for line in said]

    def _alike(self, files: Sequence[Path], recordings: Sequence[Path]) -> str:
        """Return a hint where a file is called like a recording but for capital letters or the folder."""
        names = {composed(path.stem).casefold(): path for path in recordings}
        for path in files:
            if (recording := names.get(composed(path.stem).casefold())) is not None:
                return f" ({self._name(path)}: is it of {printable(recording)}?)"
        return ""

    def _name(self, path: Path) -> str:
        return printable(path.relative_to(self.folder))

    def _below(self, place: Path, name: str) -> Path:
        if os.path.isdir(place / name):  # noqa: PTH112 - Path.is_dir raises where a folder above is out of reach
            return place / name
        if place not in self._folders:
            self._folders[place] = {composed(path.name): path.name for path in self._entries(place)}
        return place / self._folders[place].get(composed(name), name)

    def _listed(self, place: Path) -> dict[tuple[str, str], str]:
        # Of a.TXT and a.txt the latter.
        names = sorted(path.name for path in self._entries(place))
        paths = [path for path in map(PurePath, names) if path.suffix.lower() in self._suffixes]
        exact = {(path.stem, path.suffix.lower()): path.name for path in paths}
        return {(composed(stem), suffix): name for (stem, suffix), name in exact.items()} | exact

    def _entries(self, place: Path) -> list[Path]:
        try:
            return list(place.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.unread[place] = f"the folder cannot be read ({error.strerror}); {UNREAD_REMEDY}"
            return []


def shown_below(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Yield the files below a folder but for hidden ones and those in hidden folders, such as what was deleted."""
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in names if not name.startswith("."))


def composed(name: str) -> str:
    """Return a file's name in Unicode NFC, in which equal names are equal."""
    return unicodedata.normalize("NFC", name)
