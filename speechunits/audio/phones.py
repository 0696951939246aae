"""Phone alignments: which phone is spoken when, one row a phone (id, start, end, phone)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from speechunits.audio.manifest import number, raise_faults, read_table
from speechunits.run import write_text

SILENCE = "SIL"
"""Label of silence and pauses."""
UNKNOWN = "UNK"
"""Label of what the aligner could not tell."""


class Phone(NamedTuple):
    """An interval of a recording in which one phone is spoken."""

    start_s: float
    end_s: float
    label: str
    """IPA, or ``SIL``, or ``UNK`` where the aligner could not tell."""


def read_phones(path: Path) -> dict[str, list[Phone]]:
    """Return the phones of each recording, in order of time.

    Raises
    ------
    UsageError
        If the file cannot be read, or has faults (numbers, order, overlaps beyond 1 ms): all of them are named.
    """
    rows, faults = read_table(path, ("id", "start", "end", "phone"))
    phones: dict[str, list[Phone]] = {}
    for line, row in rows:
        start_s, end_s = number(row["start"]), number(row["end"])
        if start_s is None or end_s is None or end_s < start_s:
            faults.append(
                f"line {line}: start and end must be seconds in order, but are {row['start']!r}, {row['end']!r}"
            )
            continue
        previous = phones.setdefault(row["id"], [])
        if previous and start_s < previous[-1].end_s - 1e-3:
            faults.append(f"line {line}: start must not be before the previous end, but is {start_s:g} instead")
            continue
        previous.append(Phone(start_s, end_s, row["phone"]))
    raise_faults(path, faults)
    return phones


def write_phones(path: Path, phones: Mapping[str, Iterable[Phone]]) -> None:
    """Write alignments atomically, times with 10 µs resolution (a sixth of a sample)."""
    lines = ["id\tstart\tend\tphone"]
    for recording, intervals in phones.items():
        lines += [f"{recording}\t{start_s:.5f}\t{end_s:.5f}\t{label}" for start_s, end_s, label in intervals]
    write_text(path, "\n".join(lines) + "\n")
