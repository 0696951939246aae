"""What can be said of a layer's units without labels: the criteria that a layer, or K, is chosen by.

Every criterion is "the higher, the better". What each rewards wrongly, and how far each fell short of the best layer,
is in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.evaluation.dependence import joint_counts, owner_information, paired_information
from speechunits.evaluation.information import entropy_bits, held_out_predictability
from speechunits.units.sequence import merged

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

COMBINED = ("run_predictability", "view_information", "stability")
"""The parts of ``combined``: what units share with their past, with an altered copy, with another inventory."""
MEASURED = ("predictability", "run_predictability", "view_information", "view_abx", "stability", "speaker")
"""Criteria that are measured layer by layer; ``combined`` is made from them."""


@dataclass(frozen=True, kw_only=True)
class LayerUnits:
    """One layer's units of a sample of train and of held-out speech, recording by recording."""

    clusters: int
    """K."""
    train: Sequence[IntArray]
    held_out: Sequence[IntArray]
    halves: tuple[Sequence[IntArray], Sequence[IntArray]]
    """Held-out speech by centroids fitted on either half of the sample, from different seeds."""
    altered: Sequence[IntArray]
    """Held-out speech heard through noise, rooms, equalisers and shifted pitch; the same frames."""
    features: FloatArray
    """``(N, D)`` of held-out frames."""
    altered_features: FloatArray
    """``(N, D)`` of the same frames, altered."""
    speakers: Sequence[str | None]
    """Of each held-out recording."""


def needed(criterion: str) -> tuple[str, ...]:
    """Return the measures that a criterion is made from. Raises UsageError for an unknown one."""
    if criterion == "combined":
        return COMBINED
    if criterion not in MEASURED:
        raise UsageError(f"criterion must be one of {', '.join((*MEASURED, 'combined'))}, but is {criterion!r} instead")
    return (criterion,)


def measure(layer: LayerUnits, names: Collection[str] = MEASURED) -> dict[str, float]:
    """Return the named criteria of a layer; without those that its recordings do not allow (``speaker``)."""
    found: dict[str, float] = {}
    if "predictability" in names:
        found["predictability"] = held_out_predictability(layer.train, layer.held_out, layer.clusters).bits
    if "run_predictability" in names:
        train, held_out = ([merged(row) for row in side] for side in (layer.train, layer.held_out))
        found["run_predictability"] = held_out_predictability(train, held_out, layer.clusters).bits
    if "view_information" in names:
        found["view_information"] = paired_information(layer.altered, layer.held_out).bits
    if "view_abx" in names:
        found["view_abx"] = 1 - view_abx_error(layer.features, layer.altered_features)
    if "stability" in names:
        found["stability"] = stability(*layer.halves)
    if "speaker" in names:
        known = [name for name in layer.speakers if name]
        if len(known) == len(layer.speakers) and 1 < len(set(known)) < len(known):
            found["speaker"] = -owner_information(layer.held_out, known).bits
    return found


def stability(first: Sequence[IntArray], second: Sequence[IntArray], *, seed: int = 0) -> float:
    """Return how far two clusterings of the same frames agree: adjusted mutual information, 1 for equal, 0 by chance.

    Vinh, Epps and Bailey 2010, with the arithmetic mean of the entropies; the expectation is over circular shifts
    within recordings, not over permutations of frames, since neighbouring frames are alike.
    """
    information = paired_information(first, second, seed=seed)
    joint = joint_counts(np.concatenate(list(first)), np.concatenate(list(second)))
    mean = (entropy_bits(joint.sum(axis=1)) + entropy_bits(joint.sum(axis=0))) / 2
    room = mean - information.chance_bits
    # One cluster on either side: there is nothing to agree on.
    return information.bits / room if room > 1e-12 else 0.0


def view_abx_error(features: FloatArray, altered: FloatArray) -> float:
    """Return the ABX error between copies, cosine: X an altered frame, A its original, B the original of another.

    The mean over all pairs of the ``(N, D)`` frames of d(X, A) > d(X, B), ties counting half; both sides are centred,
    since activations share a large constant part that would leave all angles small.
    """
    count = len(features)
    if count < 2:
        return 0.5
    likeness = _directions(altered) @ _directions(features).T
    own = np.diagonal(likeness)[:, None]
    # A is never its own B: the diagonal is always a tie.
    wrong = (likeness > own).sum() + 0.5 * ((likeness == own).sum() - count)
    return float(wrong / (count * (count - 1)))


def _directions(features: FloatArray) -> FloatArray:
    centred = features - features.mean(axis=0)
    directions: FloatArray = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return directions


def criterion_values(scores: Mapping[str, Sequence[float]], criterion: str) -> list[float]:
    """Return a criterion over layers, from what was measured.

    ``combined`` is the mean of its parts, each standardised over layers; those that could not be measured are left out.

    Raises
    ------
    UsageError
        If nothing it is made from could be measured.
    """
    parts = [standardised(scores[name]) for name in needed(criterion) if name in scores]
    if not parts:
        raise UsageError(f"criterion {criterion} needs speakers with several held-out recordings; take another")
    return [float(value) for value in np.mean(parts, axis=0)] if criterion == "combined" else list(scores[criterion])


def standardised(values: Sequence[float]) -> NDArray[np.float64]:
    """Return values over layers with mean 0 and variance 1; zeros where all are equal."""
    row = np.asarray(values, np.float64)
    centred: NDArray[np.float64] = row - row.mean()
    spread = float(row.std())
    return centred / spread if spread > 1e-12 else np.zeros_like(row)
