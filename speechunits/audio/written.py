"""Texts that this program wrote: what a model heard is no transcript, wherever it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from speechunits.audio.load import printable
from speechunits.run import read_json, write_json

TRANSCRIBED, RECOGNIZED, CONVERTED = "transcribe.json", "recognize.json", "convert.json"
"""Names of the records that ``transcribe``, ``recognize`` and ``convert`` leave beside the texts."""
RECORDS = (TRANSCRIBED, RECOGNIZED, CONVERTED)
OTHERS = "others"
"""Entry of a record: files of the suffix that its key did not make."""
TEXTS = "texts"
"""Entry of a record: files that its key makes or has made. Records of before there was a list lack it."""
EARLIER = "earlier"
"""Entry of a record: those of the others that this program made too, by another key."""


class WrittenTexts:
    """Tells texts that this program wrote from people's, by the records in their folders and in those above."""

    def __init__(self) -> None:
        self._records: dict[Path, dict[str, dict[str, Any]]] = {}
        self._found: Counter[Path] = Counter()

    def has(self, text: Path) -> bool:
        """Tell whether a record claims a text; it is counted then."""
        place = text.absolute()
        for folder in place.parents:
            for record, said in self._listed(folder).items():
                if is_claimed(said, place.relative_to(folder).as_posix()):
                    self._found[folder / record] += 1
                    return True
        return False

    def warnings(self) -> list[str]:
        """Return what is to be said of the texts that were found, a line a record."""
        return [
            f"{printable(record.parent)}: {count} texts here are not taken for transcripts, since `speechunits "
            f"{record.stem}` wrote them ({record.name} says so); copy those that somebody has corrected into another "
            "folder, and name it with --labels"
            for record, count in sorted(self._found.items())
        ]

    def _listed(self, folder: Path) -> dict[str, dict[str, Any]]:
        if folder not in self._records:
            read = {name: read_record(folder / name) for name in RECORDS}
            # A list of ten thousand names would be looked through for each of them.
            self._records[folder] = {
                name: {**said, **{entry: frozenset(said[entry]) for entry in (OTHERS, TEXTS, EARLIER) if entry in said}}
                for name, said in read.items() if said is not None
            }  # fmt: skip
        return self._records[folder]


def record_converted(folder: Path, texts: Iterable[str]) -> None:
    """List texts in ``folder`` as made by ``convert``, beside those that are listed."""
    said = read_record(folder / CONVERTED) or {"key": "convert"}
    write_json(folder / CONVERTED, {**said, TEXTS: sorted({*said.get(TEXTS, ()), *texts})})


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what a record says; None where there is none, or a file of its name that is none of ours."""
    try:
        said = read_json(path)
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("key"), str) else None


def is_claimed(said: Mapping[str, Any], name: str) -> bool:
    """Tell whether a record claims the file called ``name`` in its folder.

    One without a list claims every text but those of others, of ``transcribe`` only if its format is text.
    """
    if name in said.get(EARLIER, ()):
        return True
    if TEXTS in said:
        return name in said[TEXTS]
    form = said.get("form", ["text"])
    return name.endswith(".txt") and form[:1] == ["text"] and name not in said.get(OTHERS, ())
