"""How units and phones agree: PNMI and purities (Hsu et al. 2021, §III-D), raw and corrected for chance.

Units come at 50 Hz; a frame carries the phone spoken at its centre. Frames past the last alignment, in gaps between
intervals and on unknown phones are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.phones import SILENCE, UNKNOWN, Phone
from speechunits.errors import InputRefused
from speechunits.evaluation.information import entropy_bits, mutual_information_bits
from speechunits.frames import frame_center_s

IntArray = NDArray[np.int64]


def frame_phones(phones: Sequence[Phone], frames: int) -> list[str | None]:
    """Return the phone at the centre of each of ``frames`` frames; None where there is none."""
    if not phones:
        return [None] * frames
    ordered = sorted(phones, key=lambda phone: phone.start_s)
    centers = np.array([frame_center_s(frame) for frame in range(frames)])
    places = np.searchsorted([phone.start_s for phone in ordered], centers, side="right") - 1
    inside = (places >= 0) & (centers < np.array([phone.end_s for phone in ordered])[places])
    return [ordered[place].label if held else None for place, held in zip(places, inside, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of units and phones over one choice of frames."""

    pnmi: float
    """I(phone; unit) / H(phone), plug-in."""
    pnmi_chance: float
    """Mean PNMI over circular shifts of each utterance's units: what inventory size and slow change alone give."""
    pnmi_corrected: float
    """(PNMI − chance) / (1 − chance)."""
    phone_purity: float
    """Share of frames right if each unit were read as its most frequent phone."""
    cluster_purity: float
    """Share of frames right if each phone were read as its most frequent unit."""
    information_bits: float
    """I(phone; unit)."""
    phone_entropy_bits: float
    frames: int
    phones: int
    """Phone types."""
    units: int
    """Units that occur."""


@dataclass(frozen=True, kw_only=True)
class UnitQuality:
    """The phone scores of an inventory."""

    without_silence: Agreement
    """The headline."""
    with_silence: Agreement
    clusters: int
    """K."""
    dropped_frames: int
    """Frames without a known phone."""


def unit_quality(
    recordings: Iterable[tuple[IntArray, Sequence[Phone]]],
    clusters: int,
    *,
    silence: Collection[str] = (SILENCE,),
    unknown: Collection[str] = (UNKNOWN,),
    shifts: int = 20,
    seed: int = 0,
) -> UnitQuality:
    """Score the ``(S,)`` units of recordings against their phone alignments.

    Raises
    ------
    InputRefused
        If no frame carries a known phone.
    """
    index: dict[str, int] = {}
    units_of, phones_of, lengths = [], [], []
    dropped = 0
    for units, phones in recordings:
        labels = frame_phones(phones, len(units))
        kept = np.array([label is not None and label not in unknown for label in labels], bool)
        dropped += len(units) - int(kept.sum())
        units_of.append(np.asarray(units, np.int64)[kept])
        known = [label for label, keep in zip(labels, kept, strict=True) if keep and label is not None]
        phones_of.append(np.array([index.setdefault(label, len(index)) for label in known], np.int64))
        lengths.append(len(known))
    units_all = np.concatenate(units_of) if units_of else np.zeros(0, np.int64)
    if len(units_all) == 0:
        raise InputRefused(
            f"no frame of {len(lengths)} recordings carries a known phone; do the phone alignment and the "
            "manifest name the same recordings?"
        )
    phones_all = np.concatenate(phones_of)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    silent = np.isin(phones_all, [index[label] for label in silence if label in index])
    if silent.all():
        raise InputRefused("every frame of the phone alignment is silence; unit quality must have some speech frames")

    def agreement(chosen: NDArray[np.bool_]) -> Agreement:
        return _agreement(
            units_all[chosen], phones_all[chosen], owners[chosen], clusters, len(index), shifts=shifts, seed=seed
        )

    return UnitQuality(
        without_silence=agreement(~silent),
        with_silence=agreement(np.ones_like(silent)),
        clusters=clusters,
        dropped_frames=dropped,
    )


def phone_table(recordings: Iterable[tuple[IntArray, Sequence[Phone]]], clusters: int) -> tuple[list[str], IntArray]:
    """Return the phones, the most frequent first, and the ``(P, K)`` frames that each has with each unit."""
    counts: dict[str, IntArray] = {}
    for units, phones in recordings:
        labels = np.array([label or "" for label in frame_phones(phones, len(units))])
        for label in np.unique(labels[labels != ""]).tolist():
            found = np.bincount(units[labels == label], minlength=clusters)
            counts[label] = counts.get(label, np.zeros(clusters, np.int64)) + found
    names = sorted(counts, key=lambda name: (-int(counts[name].sum()), name))
    return names, np.array([counts[name] for name in names], np.int64).reshape(len(names), clusters)


def _agreement(
    units: IntArray, phones: IntArray, owners: IntArray, clusters: int, types: int, *, shifts: int, seed: int
) -> Agreement:
    """Score parallel ``(N,)`` arrays; ``owners`` says which recording each frame is of, in order."""

    def joint(shifted: IntArray) -> IntArray:
        return np.bincount(phones * clusters + shifted, minlength=types * clusters).reshape(types, clusters)

    table = joint(units)
    entropy = entropy_bits(table.sum(axis=1))
    information = mutual_information_bits(table)
    # The frames kept are rotated among themselves: both histograms stay as they are, only the pairing goes.
    _, starts, owner, lengths = np.unique(owners, return_index=True, return_inverse=True, return_counts=True)
    start, length = starts[owner], lengths[owner]
    offset = np.arange(len(units)) - start
    generator = np.random.default_rng(seed)
    by_chance = []
    for _ in range(shifts):
        shift = generator.integers(1, np.maximum(lengths, 2))
        by_chance.append(mutual_information_bits(joint(units[start + (offset + shift[owner]) % length])))
    pnmi = information / entropy if entropy else 0.0
    chance = float(np.mean(by_chance)) / entropy if entropy and by_chance else 0.0
    return Agreement(
        pnmi=pnmi,
        pnmi_chance=chance,
        pnmi_corrected=(pnmi - chance) / (1 - chance) if chance < 1 else 0.0,
        phone_purity=float(table.max(axis=0).sum() / table.sum()),
        cluster_purity=float(table.max(axis=1).sum() / table.sum()),
        information_bits=information,
        phone_entropy_bits=entropy,
        frames=len(units),
        phones=int(np.count_nonzero(table.sum(axis=1))),
        units=int(np.count_nonzero(table.sum(axis=0))),
    )
