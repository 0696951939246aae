"""Items of ABX: intervals of recordings with a phone, its neighbours and a speaker.

ZeroSpeech item files hold one a line (``#file onset offset #phone prev-phone next-phone speaker``); phone alignments
can be made into items too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from speechunits.audio.manifest import DURATION_TOLERANCE_S, Recording, number, raise_faults
from speechunits.audio.phones import SILENCE, UNKNOWN, Phone
from speechunits.errors import UsageError
from speechunits.frames import frames_between
from speechunits.run import write_text

Span = Literal["triphone", "phoneme"]
"""What an item covers: a phone with both its neighbours, or the phone alone."""

HEADER = "#file onset offset #phone prev-phone next-phone speaker"
EDGE = "#"
"""Neighbour of a phone at the edge of a recording or beside a gap."""
_LEFT_OUT = (SILENCE, UNKNOWN)
_GAP_S = 1e-3


class Item(NamedTuple):
    """An interval of a recording in which one phone is spoken, or one phone with its neighbours."""

    recording: str
    onset_s: float
    offset_s: float
    phone: str
    previous: str
    following: str
    speaker: str


def read_items(path: Path) -> list[Item]:
    """Read a ZeroSpeech item file.

    Raises
    ------
    UsageError
        If the file cannot be read, holds no item, or has faults: all of them are named with their lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the item file {path} ({error}); it must be text in UTF-8") from error
    items: list[Item] = []
    faults: list[str] = []
    if lines and not lines[0].startswith("#"):
        faults.append(f"line 1 must be the header {HEADER!r}, but is {lines[0]!r} instead")
    for place, line in enumerate(lines[1:], start=2):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(Item._fields):
            faults.append(f"line {place}: must have {len(Item._fields)} columns, but has {len(cells)} instead")
            continue
        onset_s, offset_s = number(cells[1]), number(cells[2])
        if onset_s is None or offset_s is None or not 0 <= onset_s < offset_s:
            faults.append(f"line {place}: onset and offset must be seconds in order, but are {cells[1]}, {cells[2]}")
            continue
        items.append(Item(cells[0], onset_s, offset_s, *cells[3:]))
    raise_faults(path, faults)
    if not items:
        raise UsageError(f"the item file {path} must hold at least one item below its header, but holds none")
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write a ZeroSpeech item file atomically.

    Raises
    ------
    UsageError
        If a name holds white space, which the format cannot.
    """
    lines = [HEADER]
    for item in items:
        names = (item.recording, item.phone, item.previous, item.following, item.speaker)
        if any(len(name.split()) != 1 for name in names):
            raise UsageError(f"names in an item file must not be empty or hold white space, but these are: {names!r}")
        lines.append(f"{item.recording} {item.onset_s:.6f} {item.offset_s:.6f} {' '.join(names[1:])}")
    write_text(path, "\n".join(lines) + "\n")


def items_from_phones(recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]], span: Span) -> list[Item]:
    """Return the items of aligned recordings.

    A ``triphone`` item needs both neighbours, spoken and adjacent; a ``phoneme`` item may stand beside silence.
    Silence and unknown phones are no items.

    Raises
    ------
    UsageError
        If no recording is aligned, or one of them has no speaker.
    """
    items: list[Item] = []
    for recording in recordings:
        row = phones.get(recording.id, ())
        if row and recording.speaker is None:
            raise UsageError(
                f"ABX compares speakers, but {recording.id} has none; fill the manifest's column `speaker` (the "
                "recording's id, where nobody knows)"
            )
        for place, (start_s, end_s, label) in enumerate(row):
            before = row[place - 1] if place and start_s - row[place - 1].end_s <= _GAP_S else None
            after = row[place + 1] if place + 1 < len(row) and row[place + 1].start_s - end_s <= _GAP_S else None
            names = (label, before.label if before else EDGE, after.label if after else EDGE)
            times = (start_s, end_s)
            if label in _LEFT_OUT or (span == "triphone" and set(names) & {*_LEFT_OUT, EDGE}):
                continue
            if span == "triphone" and before and after:
                times = (before.start_s, after.end_s)
            items.append(Item(recording.id, *times, *names, recording.speaker or ""))
    if not items:
        raise UsageError(
            f"none of the {len(recordings)} recordings has an aligned {span}; does the phone alignment name the "
            "recordings of this split?"
        )
    return items


def subsample(items: Sequence[Item], size: int | None, seed: int, *, by_context: bool) -> list[Item]:
    """Return at most ``size`` items of each phone and speaker (and context), drawn with ``seed``, in their order."""
    if size is None:
        return list(items)
    cells: dict[tuple[str, ...], list[int]] = {}
    for place, item in enumerate(items):
        context = (item.previous, item.following) if by_context else ()
        cells.setdefault((item.phone, item.speaker, *context), []).append(place)
    generator = np.random.default_rng(seed)
    kept: list[int] = []
    for _, places in sorted(cells.items()):
        kept += places if len(places) <= size else [places[k] for k in generator.permutation(len(places))[:size]]
    return [items[place] for place in sorted(kept)]


def item_frames(item: Item, total: int, *, drop_last: bool = False) -> tuple[int, int]:
    """Return the first frame of an item and the one after its last, of ``total`` frames of the recording.

    Frames whose centres lie within [onset, offset]. With ``drop_last`` the last of them is left out, as the Libri-light
    tools and zerospeech-libriabx2 do by an off-by-one.
    """
    first, after = frames_between(item.onset_s, item.offset_s, total + 1)
    return first, min(after - 1 if drop_last else after, total)


def check_items(items: Sequence[Item], recordings: Mapping[str, Recording]) -> list[Item]:
    """Return the items whose recordings are there, and say how many are not.

    Raises
    ------
    UsageError
        If no recording is there, or items lie beyond the end of theirs.
    """
    known = [item for item in items if item.recording in recordings]
    if not known:
        raise UsageError(
            f"none of the {len({item.recording for item in items})} files of the items is a recording of the split: "
            f"the items name {items[0].recording!r}, the manifest {next(iter(recordings), 'nothing')!r}"
        )
    if len(known) < len(items):
        count = len(items) - len(known)
        print(f"{count} of {len(items)} items are left out: they are of files that the split has not", file=sys.stderr)
    beyond = [item for item in known if item.offset_s > recordings[item.recording].duration_s + DURATION_TOLERANCE_S]
    if beyond:
        item = beyond[0]
        raise UsageError(
            f"{len(beyond)} of {len(known)} items lie beyond the end of their recordings, {item.recording} first: "
            f"{item.onset_s:g}-{item.offset_s:g} s of {recordings[item.recording].duration_s:.2f} s; are the times in "
            "seconds, and of these recordings?"
        )
    return known
