"""K-means by faiss, nearest centroids, and what a fitted inventory looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.errors import UsageError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """Centroids and how the points they were fitted on fall on them."""

    centroids: FloatArray
    """``(K, D)``."""
    counts: IntArray
    """``(K,)`` points of each unit."""
    inertia: float
    """Mean squared distance of a point to its centroid."""

    @property
    def points(self) -> int:
        """Points the centroids were fitted on."""
        return int(self.counts.sum())

    @property
    def dead(self) -> int:
        """Units that no point belongs to."""
        return int(np.count_nonzero(self.counts == 0))

    @property
    def perplexity(self) -> float:
        """2 ** H(unit) over the points: the number of units that equally frequent ones would be."""
        shares = self.counts[self.counts > 0] / self.points
        return float(np.exp(-(shares * np.log(shares)).sum()))


def fit_kmeans(points: FloatArray, clusters: int, *, iterations: int = 25, restarts: int = 1, seed: int = 0) -> KMeans:
    """Fit ``clusters`` centroids on all of the ``(N, D)`` points: Lloyd's iterations from a seeded choice of points.

    Runs on one thread, so that equal seeds give equal bytes on one machine.

    Raises
    ------
    UsageError
        If faiss is not installed, or there are fewer points than clusters, or a point is not finite.
    """
    faiss = _faiss()
    if clusters < 1:
        raise UsageError(f"clusters must be at least 1, but is {clusters} instead")
    if len(points) < clusters:
        raise UsageError(
            f"k-means must have at least as many points as clusters, but has {len(points)} frames for {clusters} "
            "clusters; give more speech, or fewer clusters"
        )
    if not np.isfinite(points).all():
        raise UsageError("features must be finite, but some are not; the encoder has probably diverged in training")
    points = np.ascontiguousarray(points, dtype=np.float32)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        # Left alone, faiss would silently fit on 256 points a centroid, and warn on stderr below 39.
        machine = faiss.Kmeans(
            points.shape[1], clusters, niter=iterations, nredo=restarts, seed=seed, spherical=False,
            max_points_per_centroid=len(points), min_points_per_centroid=1,
        )  # fmt: skip
        machine.train(points)
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = np.ascontiguousarray(machine.centroids, dtype=np.float32)
    ids = np.concatenate([nearest(chunk, torch.from_numpy(centroids)) for chunk in _chunks(points)])
    return KMeans(
        centroids=centroids,
        counts=np.bincount(ids, minlength=clusters),
        inertia=sum(float(np.square(x - centroids[i]).sum(dtype=np.float64)) for x, i in
                    zip(_chunks(points), _chunks(ids), strict=True)) / len(points),
    )  # fmt: skip


def nearest(features: FloatArray, centroids: Tensor) -> IntArray:
    """Return the ``(S,)`` index of the nearest of the ``(K, D)`` centroids to each ``(S, D)`` row, in fp32.

    Of equally near centroids the first is taken.
    """
    if len(features) == 0:
        return np.zeros(0, np.int64)
    rows = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    distances: FloatArray = (centroids.square().sum(dim=1)[None, :] - 2 * rows @ centroids.T).numpy()
    ids: IntArray = np.argmin(distances, axis=1)
    return ids


def margins(features: FloatArray, centroids: Tensor) -> FloatArray:
    """Return ``(S,)`` in [0, 1]: 1 - d1 / d2 of each ``(S, D)`` row's distances to its two nearest centroids."""
    if len(features) == 0:
        return np.zeros(0, np.float32)
    rows = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    # By differences: the expanded square that finds the nearest loses the digits that a small distance has.
    near = (
        torch.cdist(rows, centroids, compute_mode="donot_use_mm_for_euclid_dist").topk(2, dim=1, largest=False).values
    )
    ratio = near[:, 0] / near[:, 1].clamp_min(torch.finfo(torch.float32).tiny)
    # Two centroids in one place: neither is nearer, even on the very spot.
    result: FloatArray = (1 - ratio.where(near[:, 1] > 0, 1.0)).numpy()
    return result


def _chunks(rows: NDArray[Any], size: int = 65_536) -> list[NDArray[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise UsageError(
            "k-means needs faiss, which is not installed; `pip install 'speechunits[units]'` (or [gpu]) adds it"
        ) from error
    return faiss
