"""Files that go with recordings by their names, such as transcripts: found whatever the case of their suffixes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePath


class Beside:
    """The files below a folder that have one of some suffixes; each folder is looked at once."""

    def __init__(self, folder: Path, suffixes: Collection[str]) -> None:
        self.folder = folder
        self._suffixes = [suffix.lower() for suffix in suffixes]
        self._names: dict[Path, dict[tuple[str, str], str]] = {}

    def find(self, relative: Path) -> Path | None:
        """Return the file at a recording's place and of its name but for the suffix; None where there is none."""
        place = (self.folder / relative).parent
        if place not in self._names:
            self._names[place] = self._listed(place)
        names = [self._names[place].get((relative.stem, suffix)) for suffix in self._suffixes]
        return next((place / name for name in names if name is not None), None)

    def _listed(self, place: Path) -> dict[tuple[str, str], str]:
        try:
            names = sorted(path.name for path in place.iterdir())
        except OSError:
            # Not there, or out of reach: then nothing in it goes with a recording.
            return {}
        # Of a.TXT and a.txt the latter.
        paths = map(PurePath, names)
        return {(path.stem, path.suffix.lower()): path.name for path in paths if path.suffix.lower() in self._suffixes}
