"""Units held against phones: who meets whom and for how long, the most confused units, and where to hear them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import SILENCE, UNKNOWN, Phone
from speechunits.evaluation.information import entropy_bits
from speechunits.evaluation.phones import frame_phones
from speechunits.frames import FRAME_RATE_HZ
from speechunits.units.sequence import intervals, runs
from speechunits.units.units import Units

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """A run of one unit in a recording."""

    id: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class UnitRow:
    """One unit as the phones see it, silence and unknown phones left out."""

    unit: int
    frames: int
    phones: tuple[tuple[str, float], ...]
    """Phones with their shares of its frames, the most frequent first."""
    entropy_bits: float
    """H(phone | this unit)."""
    confusion_bits: float
    """Its part of H(phone | unit): its share of the frames times its entropy."""


@dataclass(kw_only=True)
class Study:
    """The units of some recordings, and their phones where these are known."""

    clusters: int
    recordings: list[Recording] = field(default_factory=list)
    units: dict[str, IntArray] = field(default_factory=dict)
    phones: dict[str, Sequence[Phone]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """Minutes of recordings."""
        return sum(recording.duration_s for recording in self.recordings) / 60

    def table(self) -> tuple[list[str], IntArray]:
        """Return the phones, by frequency with silence last, and ``(phones, K)`` frames; unknown ones left out."""
        counts: dict[str, IntArray] = {}
        for name, found in self.units.items():
            for label, unit in zip(frame_phones(self.phones.get(name, ()), len(found)), found.tolist(), strict=True):
                if label is not None and label != UNKNOWN:
                    counts.setdefault(label, np.zeros(self.clusters, np.int64))[unit] += 1
        order = sorted(counts, key=lambda label: (label == SILENCE, -int(counts[label].sum()), label))
        return order, np.array([counts[label] for label in order]).reshape(len(order), self.clusters)

    def rows(self) -> list[UnitRow]:
        """Return the units that occur, in order of number."""
        labels, table = self.table()
        spoken = [index for index, label in enumerate(labels) if label != SILENCE]
        speech = table[spoken]
        total = max(int(speech.sum()), 1)
        rows = []
        for unit in np.flatnonzero(speech.sum(axis=0)).tolist():
            column = speech[:, unit]
            order = np.argsort(-column, kind="stable")
            shares = [(labels[spoken[i]], float(column[i] / column.sum())) for i in order if column[i]]
            entropy = entropy_bits(column)
            rows.append(UnitRow(unit=unit, frames=int(column.sum()), phones=tuple(shares), entropy_bits=entropy,
                                confusion_bits=float(column.sum() / total * entropy)))  # fmt: skip
        return rows

    def occurrences(self) -> dict[tuple[int, str], Occurrence]:
        """Return the longest run of each unit within each phone (the phone at the middle of the run)."""
        best: dict[tuple[int, str], tuple[int, Occurrence]] = {}
        for recording in self.recordings:
            found = self.units[recording.id]
            labels = frame_phones(self.phones.get(recording.id, ()), len(found))
            for run, interval in zip(runs(found), intervals(found, recording.duration_s), strict=True):
                label = labels[(run.first + run.last) // 2]
                if label is not None and run.frames > best.get((run.unit, label), (0, None))[0]:
                    place = Occurrence(id=recording.id, start_s=interval.start_s, end_s=interval.end_s)
                    best[run.unit, label] = run.frames, place
        return {key: place for key, (_, place) in best.items()}

    def unit_durations_s(self) -> list[float]:
        """Return the duration of every run."""
        return [run.frames / FRAME_RATE_HZ for found in self.units.values() for run in runs(found)]

    def phone_durations_s(self) -> list[float]:
        """Return the duration of every phone but silence and unknown ones."""
        return [phone.end_s - phone.start_s for phones in self.phones.values() for phone in phones
                if phone.label not in {SILENCE, UNKNOWN}]  # fmt: skip


def study_units(bundle: Path, recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]]) -> Study:
    """Compute the units of recordings; those that cannot be read are kept in ``refused``, with the reason."""
    model = Units.load(bundle)
    study = Study(clusters=model.clusters)
    for recording, found in model.recordings(recordings, lambda name, why: study.refused.append((name, why))):
        study.recordings.append(recording)
        study.units[recording.id] = found
        if recording.id in phones:
            study.phones[recording.id] = phones[recording.id]
    return study


def spread(recordings: Sequence[Recording], minutes: float) -> list[Recording]:
    """Return recordings evenly spread over the list, together about as long as ``minutes`` at most."""
    total_s = sum(recording.duration_s for recording in recordings)
    if total_s <= 60 * minutes:
        return list(recordings)
    count = max(1, int(len(recordings) * 60 * minutes / total_s))
    return [recordings[index * len(recordings) // count] for index in range(count)]
