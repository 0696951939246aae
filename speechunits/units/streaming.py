"""K-means over more points than memory holds, by mini-batches (Sculley 2010)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.units.kmeans import KMeans
from speechunits.units.nearest import nearest

FloatArray = NDArray[np.float32]


def refine_kmeans(start: KMeans, stream: Callable[[], Iterable[FloatArray]], passes: int = 1) -> KMeans:
    """Move centroids towards the means of all points of a stream, and count how these fall on them.

    Every batch pulls a centroid by its share of all points that the centroid has had so far, those of ``start``
    included. After each pass a unit that had no point is moved to the point that lay farthest from its centroid. One
    more pass counts. Memory: one batch, and a few tables of the size of the centroids.

    Parameters
    ----------
    start
        Centroids fitted on a sample.
    stream
        Yields ``(N, D)`` batches; called ``passes + 1`` times.

    Raises
    ------
    UsageError
        If the stream holds nothing, or a point is not finite.
    """
    centroids = start.centroids.copy()
    weights = start.counts.astype(np.float64)
    for _ in range(passes):
        counts = np.zeros(len(centroids), np.int64)
        spare = _Farthest(centroids.shape)
        for batch in stream():
            ids, distances = _assign(batch, centroids)
            spare.add(batch, distances)
            found = np.bincount(ids, minlength=len(centroids))
            sums = torch.zeros(centroids.shape).index_add_(0, torch.from_numpy(ids), torch.from_numpy(batch)).numpy()
            counts += found
            weights += found
            pulled = found > 0
            step = (sums[pulled] - found[pulled, None] * centroids[pulled]) / weights[pulled, None]
            centroids[pulled] += step.astype(np.float32)
        dead = np.flatnonzero(counts == 0)
        points = spare.points(len(dead))
        centroids[dead[: len(points)]] = points
        weights[dead] = 1
    counts, total = np.zeros(len(centroids), np.int64), 0.0
    for batch in stream():
        ids, distances = _assign(batch, centroids)
        counts += np.bincount(ids, minlength=len(centroids))
        total += float(distances.sum(dtype=np.float64))
    if counts.sum() == 0:
        raise UsageError("k-means must have points, but the stream holds none; is the split empty?")
    return KMeans(centroids=centroids, counts=counts, inertia=total / int(counts.sum()))


def _assign(batch: FloatArray, centroids: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    if not np.isfinite(batch).all():
        raise UsageError("features must be finite, but some are not; the encoder has probably diverged in training")
    ids = nearest(batch, torch.from_numpy(centroids))
    distances: FloatArray = np.square(batch - centroids[ids]).sum(axis=1)
    return ids, distances


class _Farthest:
    """The points of a stream that lay farthest from their centroids, at most as many as there are centroids."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.size = shape[0]
        self._points = np.zeros((0, shape[1]), np.float32)
        self._distances = np.zeros(0, np.float32)

    def add(self, batch: FloatArray, distances: FloatArray) -> None:
        limit = self._distances.min() if len(self._distances) == self.size else 0.0
        beyond = np.flatnonzero(distances > limit)
        beyond = beyond[np.argsort(-distances[beyond], kind="stable")[: self.size]]
        self._points = np.concatenate([self._points, batch[beyond]])
        self._distances = np.concatenate([self._distances, distances[beyond]])
        kept = np.argsort(-self._distances, kind="stable")[: self.size]
        self._points, self._distances = self._points[kept], self._distances[kept]

    def points(self, count: int) -> FloatArray:
        """Return the ``count`` farthest points, fewer where there are not as many."""
        return self._points[:count]
