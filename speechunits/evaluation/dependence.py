"""How many bits one thing tells about another beyond what chance would: plug-in information less a permutation's.

The plug-in estimate is biased upwards, by about (P − 1)(K − 1) / (2 N ln 2) bits where the N samples are independent
(Miller 1955). Frames are not: a unit lasts, a speaker lasts longer still, and the bias is many times that. So the bias
is measured: the mean information once the pairing is broken but the runs are kept. That is right where the two are
independent; where they are not, it takes off a little too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.evaluation.information import mutual_information_bits

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """Mutual information and its bias."""

    plug_in_bits: float
    chance_bits: float
    """Mean over permutations: the bias."""

    @property
    def bits(self) -> float:
        """The corrected information; slightly below 0 by chance where there is none."""
        return self.plug_in_bits - self.chance_bits


def joint_counts(left: IntArray, right: IntArray) -> IntArray:
    """Return the table of joint counts of two ``(N,)`` arrays of numbers from 0."""
    if len(left) == 0:
        return np.zeros((1, 1), np.int64)
    rows, columns = int(left.max()) + 1, int(right.max()) + 1
    return np.bincount(left * columns + right, minlength=rows * columns).reshape(rows, columns)


def paired_information(
    left: Sequence[IntArray], right: Sequence[IntArray], *, shifts: int = 10, seed: int = 0
) -> Dependence:
    """Return I(left; right) of sequences that run side by side, recording by recording, frame by frame.

    Chance: each recording's left is shifted circularly against its right by a random number of frames.

    Raises
    ------
    ValueError
        If a recording's two sides differ in length.
    """
    for one, other in zip(left, right, strict=True):
        if len(one) != len(other):
            raise ValueError(f"both sides of a recording must be as long, but have {len(one)} and {len(other)} frames")
    fixed = np.concatenate([np.zeros(0, np.int64), *right])
    generator = np.random.default_rng(seed)
    chance = []
    for _ in range(shifts):
        rolled = [np.roll(row, int(generator.integers(1, max(len(row), 2)))) for row in left]
        chance.append(mutual_information_bits(joint_counts(np.concatenate([np.zeros(0, np.int64), *rolled]), fixed)))
    whole = np.concatenate([np.zeros(0, np.int64), *left])
    return Dependence(
        plug_in_bits=mutual_information_bits(joint_counts(whole, fixed)), chance_bits=float(np.mean(chance))
    )


def owner_information(
    units: Sequence[IntArray], owners: Sequence[str], *, permutations: int = 20, seed: int = 0
) -> Dependence:
    """Return I(unit; owner) for recordings that each have one owner: a speaker.

    Chance: owners change places among recordings, so that each keeps its number of recordings.

    Raises
    ------
    UsageError
        If no owner has two recordings (what is said and who says it are then one), or there is but one owner.
    """
    names = sorted(set(owners))
    if len(names) < 2 or len(names) == len(owners):
        raise UsageError(
            f"information about speakers needs two speakers, and two recordings of one, but there are {len(names)} "
            f"speakers in {len(owners)} recordings"
        )
    clusters = 1 + max((int(row.max()) for row in units if len(row)), default=0)
    histograms = np.stack([np.bincount(row, minlength=clusters) for row in units])
    numbers = np.array([names.index(owner) for owner in owners])

    def information(order: IntArray) -> float:
        table = np.zeros((len(names), clusters), np.int64)
        np.add.at(table, order, histograms)
        return mutual_information_bits(table)

    generator = np.random.default_rng(seed)
    chance = [information(generator.permutation(numbers)) for _ in range(permutations)]
    return Dependence(plug_in_bits=information(numbers), chance_bits=float(np.mean(chance)))
