"""Files that go with recordings by their names, such as transcripts: found whatever the case of their suffixes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePath

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


def composed(name: str) -> str:
    """Return a file's name in Unicode NFC, in which equal names are equal."""
    return unicodedata.normalize("NFC", name)
