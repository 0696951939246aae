"""What can be said of a layer's units without labels: the criteria that a layer, or K, is chosen by.

Every criterion is "the higher, the better". What each rewards wrongly, and how far each fell short of the best layer, is
in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechunits.evaluation.dependence import joint_counts, owner_information, paired_information
from speechunits.evaluation.information import entropy_bits, held_out_predictability, mutual_information_bits
from speechunits.units.sequence import merged

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

ABX_FRAMES = 2_000


@dataclass(frozen=True, kw_only=True)
class LayerUnits:
    """One layer's units of a sample of train and of held-out speech, recording by recording."""

    clusters: int
    """K."""
    train: Sequence[IntArray]
    held_out: Sequence[IntArray]
    again: Sequence[IntArray]
    """Held-out speech by centroids fitted on other recordings, from another seed."""
    altered: Sequence[IntArray]
    """Held-out speech heard through noise, rooms, equalisers and shifted pitch; the same frames."""
    features: FloatArray
    """``(N, D)`` of held-out frames with speech in them."""
    altered_features: FloatArray
    """``(N, D)`` of the same frames, altered."""
    speakers: Sequence[str] | None
    """Of each held-out recording; None where they are not known, or are too few."""


def measure(layer: LayerUnits) -> dict[str, float]:
    """Return every criterion of a layer that its recordings allow."""
    frames = held_out_predictability(layer.train, layer.held_out, layer.clusters)
    runs = held_out_predictability(
        [merged(row) for row in layer.train], [merged(row) for row in layer.held_out], layer.clusters
    )
    found = {
        "predictability": frames.bits,
        "run_predictability": runs.bits,
        "stability": stability(layer.held_out, layer.again),
        "view_information": paired_information(layer.altered, layer.held_out).bits,
        "view_abx": 1 - view_abx_error(layer.features, layer.altered_features),
    }
    if layer.speakers is not None:
        found["speaker"] = -owner_information(layer.held_out, layer.speakers).bits
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
    if len(features) < 2:
        return 0.5
    originals, copies = _directions(features), _directions(altered)
    likeness = copies @ originals.T
    own = np.diagonal(likeness)[:, None]
    count = len(features)
    # A is never its own B: the diagonal is always a tie.
    wrong = (likeness > own).sum() + 0.5 * ((likeness == own).sum() - count)
    return float(wrong / (count * (count - 1)))


def _directions(features: FloatArray) -> FloatArray:
    centred = features - features.mean(axis=0)
    directions: FloatArray = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return directions


def consensus(held_out: Sequence[Sequence[IntArray]]) -> list[float]:
    """Return for each layer the mean bits its units tell about those of the other layers."""
    flat = [np.concatenate(list(rows)) for rows in held_out]
    tables = [
        [mutual_information_bits(joint_counts(one, other)) if one is not other else 0.0 for other in flat]
        for one in flat
    ]
    return [sum(row) / max(len(flat) - 1, 1) for row in tables]


def standardised(values: Sequence[float]) -> NDArray[np.float64]:
    """Return values over layers with mean 0 and variance 1; zeros where all are equal."""
    row = np.asarray(values, np.float64)
    spread = row.std()
    centred: NDArray[np.float64] = row - row.mean()
    return centred / spread if spread > 1e-12 else np.zeros_like(row)


def combined(scores: Mapping[str, Sequence[float]], names: Sequence[str]) -> list[float]:
    """Return the mean over criteria of their standardised values; those that could not be measured are left out."""
    rows = [standardised(scores[name]) for name in names if name in scores]
    return [float(value) for value in np.mean(rows, axis=0)]
