"""Stretches of a recording that somebody labelled, in tiers: what ELAN and Praat files hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speechunits.audio.load import printable
from speechunits.errors import InputRefused

SUFFIXES = (".eaf", ".TextGrid")


class Annotation(NamedTuple):
    """One label and its time."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """All tiers of one file."""

    tiers: dict[str, list[Annotation]]
    start_s: float = 0.0
    """Where the file says that its times begin."""
    duration_s: float | None = None
    """Length of the recording, where the file tells it: where its times end."""
    origins_s: dict[str, float] = field(default_factory=dict)
    """Of recordings by their file names: where in them the program that shows them begins."""
    properties: dict[str, str] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()
    """Names that more than one tier has."""
    points: tuple[str, ...] = ()
    """Tiers whose labels stand at points of time and last for none."""

    def tier(self, name: str) -> list[Annotation]:
        """Return a tier. Raises InputRefused, naming those that are there, where it is missing, or not the only one."""
        if name in self.repeated:
            raise InputRefused(f"more than one tier is named {name!r}, which cannot be told apart; rename one")
        if name not in self.tiers:
            there = ", ".join(repr(own) for own in self.tiers) or "none"
            if name in self.points:
                raise InputRefused(
                    f"the tier {name!r} is one of points, which have no length; name one of intervals (here: {there}), "
                    "or make it such a one in Praat"
                )
            beside = f", and of points {', '.join(map(repr, self.points))}" if self.points else ""
            raise InputRefused(f"the tier {name!r} is missing; the file's tiers are {there}{beside}")
        return self.tiers[name]


def read_annotations(path: Path) -> AnnotationFile:
    """Read an ELAN ``.eaf`` or a Praat ``.TextGrid``. Raises InputRefused where it is damaged, or neither."""
    from speechunits.audio.elan import read_eaf  # noqa: PLC0415 - the readers need the classes above
    from speechunits.audio.textgrid import read_textgrid  # noqa: PLC0415

    readers = {".eaf": read_eaf, ".textgrid": read_textgrid}
    if path.suffix.lower() not in readers:
        raise InputRefused(f"{printable(path)} must be one of {', '.join(SUFFIXES)}, but is not; export it from there")
    return readers[path.suffix.lower()](path)


def refused(path: Path, cause: str) -> InputRefused:
    """Return the error for an annotation file that cannot be used."""
    return InputRefused(f"{printable(path)}: {cause}")
