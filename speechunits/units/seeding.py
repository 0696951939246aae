"""First centroids: spread out by k-means++ (Arthur and Vassilvitskii 2007), or fitted by one pass over the points."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.units.nearest import nearest

FloatArray = NDArray[np.float32]

_POINTS_EACH = 64
"""Points a centroid among which seeds are looked for: every seed costs a pass over them."""
_PASS_SEEDS = 5
_PASS_BATCH = 10
"""Points a centroid among which a pass looks for its seeds, and of each of its batches."""
_PASS_POINTS = 350
"""Points a centroid after which a pass ends."""
_PASS_WARM_UP = 2
"""Iterations over the first batch."""
_PASS_KEPT = 0.9
"""Weight of what was seen before a batch: in effect, the last hundred points a centroid make it."""


def plus_plus(
    points: FloatArray, clusters: int, generator: np.random.Generator, *, draws: int | None = None
) -> FloatArray:
    """Return ``(K, D)`` of the ``(N, D)`` points, each drawn with probability ∝ squared distance to those before.

    Of ``draws`` a step, by default 2 + ln K as in the code of the paper's authors, the one that lowers the sum of
    distances most is kept. Beyond 64 points a centroid a random part of the points is looked at. Fewer distinct points
    than clusters: some are taken twice.
    """
    size = min(len(points), max(_POINTS_EACH * clusters, clusters))
    pool = points if size == len(points) else points[np.sort(generator.choice(len(points), size, replace=False))]
    squares = np.einsum("nd,nd->n", pool, pool)
    candidates = draws or 2 + int(math.log(clusters))

    def distances(rows: NDArray[np.int64]) -> FloatArray:
        found: FloatArray = squares[None, :] - 2 * (pool[rows] @ pool.T) + squares[rows][:, None]
        return np.maximum(found, 0)

    chosen = [int(generator.integers(size))]
    nearest = distances(np.array(chosen))[0]
    nearest[chosen[0]] = 0
    while len(chosen) < clusters:
        cumulated = np.cumsum(nearest, dtype=np.float64)
        if cumulated[-1] <= 0:
            chosen.extend(generator.integers(size, size=clusters - len(chosen)).tolist())
            break
        drawn = np.searchsorted(cumulated, generator.random(candidates) * cumulated[-1], side="right")
        drawn = np.minimum(drawn, size - 1)
        lowered = np.minimum(distances(drawn), nearest)
        best = int(lowered.sum(axis=1, dtype=np.float64).argmin())
        nearest = lowered[best]
        # Rounding leaves a chosen point at a small distance from itself.
        nearest[drawn[best]] = 0
        chosen.append(int(drawn[best]))
    return np.ascontiguousarray(pool[chosen])


def one_pass(points: FloatArray, clusters: int, generator: np.random.Generator) -> FloatArray:
    """Return ``(K, D)`` centroids from one pass over up to 350 of the ``(N, D)`` points a centroid, in random order.

    A centroid is the mean of the points that were nearest to it, those of each batch counting nine tenths of those of
    the next (incremental expectation maximisation, Neal and Hinton 1998, §4, with forgetting). Centroids move after
    every batch of ten points a centroid, instead of after a pass over all, so that one pass does the work of many.
    """
    order = generator.permutation(len(points))[: _PASS_POINTS * clusters]
    centroids = plus_plus(points[order[: _PASS_SEEDS * clusters]], clusters, generator, draws=2)
    size = _PASS_BATCH * clusters
    first = points[order[:size]]
    for _ in range(_PASS_WARM_UP):
        sums, counts = _sums(first, centroids)
        centroids = _moved(centroids, sums, counts)
    sums, counts = np.zeros_like(centroids), np.zeros(clusters, np.float32)
    for start in range(0, len(order), size):
        more, others = _sums(points[order[start : start + size]], centroids)
        sums, counts = _PASS_KEPT * sums + more, _PASS_KEPT * counts + others
        centroids = _moved(centroids, sums, counts)
    return centroids


def _sums(points: FloatArray, centroids: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ``(K, D)`` sums and ``(K,)`` numbers of the points nearest to each centroid."""
    ids = nearest(points, torch.from_numpy(centroids))
    sums = torch.zeros(centroids.shape).index_add_(0, torch.from_numpy(ids), torch.from_numpy(points))
    counts: FloatArray = np.bincount(ids, minlength=len(centroids)).astype(np.float32)
    return sums.numpy(), counts


def _moved(centroids: FloatArray, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the means of points; a centroid that has less than half a point is left where it is."""
    found = counts > 0.5
    moved: FloatArray = np.where(found[:, None], sums / np.maximum(counts, 0.5)[:, None], centroids)
    return np.ascontiguousarray(moved, dtype=np.float32)
