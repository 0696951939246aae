"""K-means by faiss, nearest centroids, and what a fitted inventory looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.errors import UsageError
from speechunits.units.seeding import plus_plus

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Seeding = Literal["sample", "k-means++", "subset"]

_SUBSET_POINTS = 40
"""Points a centroid that ``subset`` begins with: faiss warns that fewer than 39 do not tell where one lies."""
_SUBSET_ITERATIONS = 10
_REPAIRS = 3
_REPAIR_ITERATIONS = 5


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


def fit_kmeans(
    points: FloatArray,
    clusters: int,
    *,
    iterations: int = 25,
    restarts: int = 1,
    seed: int = 0,
    seeding: Seeding = "sample",
) -> KMeans:
    """Fit ``clusters`` centroids on all of the ``(N, D)`` points: Lloyd's iterations from a seeded choice of points.

    With ``subset`` these are first moved by ten iterations over 40 drawn points a centroid: where there are many more
    points, that costs less than one iteration over all and saves several. Of ``restarts`` the one of the lowest inertia
    is kept. Units that no point belongs to are moved to the points that are farthest from theirs, and fitted again.
    Runs on one thread, so that equal seeds give equal bytes on one machine; where faiss sees a GPU, on that, without
    this promise.

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
    if seeding == "sample":
        best, distances = describe(points, _lloyd(faiss, points, clusters, iterations, seed, restarts=restarts))
    else:
        trials = []
        for restart in range(max(restarts, 1)):
            generator = np.random.default_rng([seed, restart])
            if seeding == "subset":
                drawn = generator.choice(len(points), min(len(points), _SUBSET_POINTS * clusters), replace=False)
                start = _lloyd(faiss, points[np.sort(drawn)], clusters, _SUBSET_ITERATIONS, seed + restart)
            else:
                start = plus_plus(points, clusters, generator)
            trials.append(describe(points, _lloyd(faiss, points, clusters, iterations, seed, start=start)))
        best, distances = min(trials, key=lambda trial: trial[0].inertia)
    for _ in range(_REPAIRS):
        if best.dead == 0 or distances.max() == 0:
            break
        centroids = best.centroids.copy()
        dead = np.flatnonzero(best.counts == 0)
        centroids[dead] = points[np.argsort(-distances, kind="stable")[: len(dead)]]
        mended = describe(points, _lloyd(faiss, points, clusters, _REPAIR_ITERATIONS, seed, start=centroids))
        if mended[0].inertia >= best.inertia:
            break
        best, distances = mended
    return best


def describe(points: FloatArray, centroids: FloatArray) -> tuple[KMeans, FloatArray]:
    """Return how ``(N, D)`` points fall on ``(K, D)`` centroids, and the ``(N,)`` squared distances to them."""
    table = torch.from_numpy(centroids)
    ids = np.concatenate([nearest(chunk, table) for chunk in _chunks(points)])
    distances = np.concatenate(
        [np.square(x - centroids[i]).sum(axis=1) for x, i in zip(_chunks(points), _chunks(ids), strict=True)]
    )
    counts = np.bincount(ids, minlength=len(centroids))
    inertia = float(distances.sum(dtype=np.float64)) / len(points)
    return KMeans(centroids=centroids, counts=counts, inertia=inertia), distances


def _lloyd(
    faiss: Any, points: FloatArray, clusters: int, iterations: int, seed: int, *, start: FloatArray | None = None,
    restarts: int = 1,
) -> FloatArray:  # fmt: skip
    """Return the ``(K, D)`` centroids of faiss, from its own seeded choice or from ``start``."""
    graphics = getattr(faiss, "get_num_gpus", lambda: 0)() > 0
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        # Left alone, faiss would silently fit on 256 points a centroid, and warn on stderr below 39.
        machine = faiss.Kmeans(
            points.shape[1], clusters, niter=iterations, nredo=restarts, seed=seed, spherical=False,
            max_points_per_centroid=len(points), min_points_per_centroid=1, gpu=graphics,
        )  # fmt: skip
        machine.train(points, init_centroids=start)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.ascontiguousarray(machine.centroids, dtype=np.float32)


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
