"""First centroids by k-means++ (Arthur and Vassilvitskii 2007), several candidates a step as in its §5."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_POINTS_EACH = 64
"""Points a centroid among which seeds are looked for: every seed costs a pass over them."""


def plus_plus(points: FloatArray, clusters: int, generator: np.random.Generator) -> FloatArray:
    """Return ``(K, D)`` of the ``(N, D)`` points, each drawn with probability ∝ squared distance to those before.

    Of 2 + ln K draws a step the one that lowers the sum of distances most is kept. Beyond 64 points a centroid a
    random part of the points is looked at. Fewer distinct points than clusters: some are taken twice.
    """
    size = min(len(points), max(_POINTS_EACH * clusters, clusters))
    pool = points if size == len(points) else points[np.sort(generator.choice(len(points), size, replace=False))]
    squares = np.einsum("nd,nd->n", pool, pool)
    candidates = 2 + int(math.log(clusters))

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
