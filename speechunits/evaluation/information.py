"""Entropies, mutual information, and how predictable units are from their past; everything in bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_DEFAULT_DISCOUNT = 0.5
"""Used where the counts of counts do not determine one (no n-gram seen once, or none twice)."""


def entropy_bits(counts: NDArray[np.int64] | FloatArray) -> float:
    """Return the plug-in entropy of a histogram in bits; 0 for an empty one."""
    total = counts.sum()
    if total == 0:
        return 0.0
    shares = counts[counts > 0] / total
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def mutual_information_bits(joint: IntArray) -> float:
    """Return the plug-in mutual information in bits of a ``(P, K)`` table of joint counts.

    It is biased upwards by about (P − 1)(K − 1) / (2 N ln 2) bits: see the correction in ``phones.py``.
    """
    rows, columns = entropy_bits(joint.sum(axis=1)), entropy_bits(joint.sum(axis=0))
    return max(0.0, rows + columns - entropy_bits(joint.ravel()))


@dataclass(frozen=True, slots=True)
class NgramOrder:
    """The n-grams of one length: their counts, and what their contexts sum to."""

    contexts: IntArray
    """Sorted keys (shorter context, one symbol further back) of the contexts of n − 1 symbols."""
    ngrams: IntArray
    """Sorted keys (context, symbol)."""
    counts: FloatArray
    """Raw counts for the longest n-grams, numbers of distinct left neighbours for the others."""
    totals: FloatArray
    """Sum of ``counts`` over the symbols that follow each context."""
    types: FloatArray
    """Number of symbols that follow each context."""
    discount: float


def matching(sorted_keys: IntArray, keys: IntArray) -> IntArray:
    """Return the index of each key, -1 where it is absent."""
    places = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[places] == keys, places, -1)


class KneserNey:
    """An interpolated Kneser–Ney n-gram model with one absolute discount an order.

    Kneser and Ney 1995; the interpolated form and D = n₁ / (n₁ + 2 n₂) of Chen and Goodman 1999, §3. The unigram is
    interpolated with the uniform distribution, so every unit has a positive probability. Histories are padded with a
    start symbol that is never predicted; n-grams that begin with it keep raw counts, for nothing precedes them.

    Parameters
    ----------
    sequences
        One array of units in ``[0, clusters)`` for each recording.
    clusters
        K, the size of the inventory.
    order
        Longest n-gram.
    """

    def __init__(self, sequences: Sequence[IntArray], clusters: int, order: int = 5) -> None:
        self.clusters = clusters
        self.order = order
        self.levels: list[NgramOrder] = []
        symbols, places = self._pad(sequences)
        if len(places) == 0:
            raise ValueError("a Kneser–Ney model must be fitted on at least one unit, but got none instead")
        contexts, keys, firsts = [], [], []
        grams: list[IntArray] = []
        raw: list[IntArray] = []
        context = np.zeros(len(places), np.int64)
        for length in range(1, order + 1):
            context_keys = context * (clusters + 1) + symbols[places - length + 1] if length > 1 else context
            known, context = np.unique(context_keys, return_inverse=True)
            gram_keys, first, gram, count = np.unique(
                context * clusters + symbols[places], return_index=True, return_inverse=True, return_counts=True
            )
            contexts.append(known)
            keys.append(gram_keys)
            firsts.append(first)
            grams.append(gram)
            raw.append(count)
        for level in range(order):
            counts = raw[level]
            if level + 1 < order:
                neighbours = np.bincount(grams[level][firsts[level + 1]], minlength=len(counts))
                starts = symbols[places[firsts[level]] - level] == clusters
                counts = np.where(starts, counts, neighbours)
            self.levels.append(_order(contexts[level], keys[level], counts.astype(np.float64), clusters))

    def _pad(self, sequences: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
        """Return the symbols with start symbols before each sequence, and the places of the real ones."""
        padding = np.full(self.order - 1, self.clusters, np.int64)
        parts: list[IntArray] = []
        for sequence in sequences:
            parts += [padding, np.asarray(sequence, np.int64)]
        symbols = np.concatenate(parts) if parts else padding
        return symbols, np.flatnonzero(symbols != self.clusters)

    def probabilities(self, sequences: Sequence[IntArray]) -> FloatArray:
        """Return the probability of each unit given those before it, over all sequences, concatenated."""
        symbols, places = self._pad(sequences)
        probability = np.full(len(places), 1 / self.clusters)
        if len(places) == 0:
            return probability
        context = np.zeros(len(places), np.int64)
        for length, level in enumerate(self.levels, start=1):
            if length > 1:
                unseen = context < 0
                keys = context * (self.clusters + 1) + symbols[places - length + 1]
                context = np.where(unseen, -1, matching(level.contexts, keys))
            gram = np.where(context < 0, -1, matching(level.ngrams, context * self.clusters + symbols[places]))
            count = np.where(gram < 0, 0.0, level.counts[gram])
            kept = np.maximum(count - level.discount, 0) / level.totals[context]
            weight = level.discount * level.types[context] / level.totals[context]
            # An unseen context says nothing: the shorter one decides alone.
            probability = np.where(context < 0, probability, kept + weight * probability)
        return probability


def _order(contexts: IntArray, keys: IntArray, counts: FloatArray, clusters: int) -> NgramOrder:
    owner = keys // clusters
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    discount = once / (once + 2 * twice) if once and twice else _DEFAULT_DISCOUNT
    return NgramOrder(
        contexts=contexts,
        ngrams=keys,
        counts=counts,
        totals=np.bincount(owner, weights=counts, minlength=len(contexts)).astype(np.float64),
        types=np.bincount(owner, minlength=len(contexts)).astype(np.float64),
        discount=discount,
    )


@dataclass(frozen=True, kw_only=True)
class Predictability:
    """How many bits of a unit its past tells, on held-out speech."""

    entropy_bits: float
    """H(unit) of the held-out histogram."""
    conditional_bits: float
    """Ĥ(unit | past): held-out cross-entropy of the predictor."""
    count: int
    """Held-out units scored."""

    @property
    def bits(self) -> float:
        """H(unit) − Ĥ(unit | past)."""
        return self.entropy_bits - self.conditional_bits


def held_out_predictability(
    train: Sequence[IntArray], tune: Sequence[IntArray], clusters: int, *, order: int = 5
) -> Predictability:
    """Score ``tune`` with a Kneser–Ney n-gram fitted on ``train``; bits for each unit of the sequences given.

    Give frames for bits a frame, merged runs for bits a run.

    Raises
    ------
    ValueError
        If either side holds no unit.
    """
    probabilities = KneserNey(train, clusters, order).probabilities(tune)
    if len(probabilities) == 0:
        raise ValueError("predictability must be measured on at least one held-out unit, but got none instead")
    histogram = np.bincount(np.concatenate(list(tune)), minlength=clusters)
    return Predictability(
        entropy_bits=entropy_bits(histogram),
        conditional_bits=float(-np.log2(probabilities).mean()),
        count=len(probabilities),
    )
