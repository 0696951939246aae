"""K-means by faiss, nearest centroids, and what a fitted inventory looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.units.nearest import nearest
from speechunits.units.seeding import one_pass, plus_plus

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Seeding = Literal["sample", "k-means++", "pass"]

_JUDGED_POINTS = 64
"""Points a centroid that tell counts and inertia where no iteration over all is asked for."""
_REPAIRS = 3
_REPAIR_ITERATIONS = 5
_SEEDS = 2**31
"""How many seeds faiss knows."""


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

    With ``pass`` these are the outcome of :func:`speechunits.units.seeding.one_pass`, which costs less than two
    iterations and is worth many: ``iterations`` may then be 0, and 64 drawn points a centroid tell counts and inertia.
    Of ``restarts`` the one of the lowest inertia is kept. Units that no point belongs to are moved to the points that
    are farthest from theirs, and fitted again. Runs on one thread, so that equal seeds give equal bytes on one machine;
    where faiss sees a GPU, on that, without this promise.

    Raises
    ------
    UsageError
        If faiss is not installed, or there are fewer points than clusters, or a point is not finite.
    """
    _faiss()
    if clusters < 1:
        raise UsageError(f"clusters must be at least 1, but is {clusters} instead")
    if iterations < (0 if seeding == "pass" else 1):
        raise UsageError(
            f"iterations must be at least 1, but is {iterations} instead; only seeding by a pass needs none"
        )
    if len(points) < clusters:
        raise UsageError(
            f"k-means must have at least as many points as clusters, but has {len(points)} frames for {clusters} "
            "clusters; give more speech, or fewer clusters"
        )
    if not np.isfinite(points).all():
        raise UsageError("features must be finite, but some are not; the encoder has probably diverged in training")
    points = np.ascontiguousarray(points, dtype=np.float32)
    if seeding == "sample":
        return _mended(points, seed, *describe(points, _lloyd(points, clusters, iterations, seed, restarts=restarts)))
    judged, trials = points, []
    if not iterations and len(points) > _JUDGED_POINTS * clusters:
        drawn = np.random.default_rng(seed).permutation(len(points))[: _JUDGED_POINTS * clusters]
        judged = points[np.sort(drawn)]
    for restart in range(max(restarts, 1)):
        generator = np.random.default_rng([seed, restart])
        centroids = (one_pass if seeding == "pass" else plus_plus)(points, clusters, generator)
        if iterations:
            centroids = _lloyd(points, clusters, iterations, seed, start=centroids)
        trials.append(describe(judged, centroids))
    return _mended(judged, seed, *min(trials, key=lambda trial: trial[0].inertia))


def _mended(points: FloatArray, seed: int, best: KMeans, distances: FloatArray) -> KMeans:
    """Move units that none of the points belongs to where points are farthest from theirs, and fit again."""
    for _ in range(_REPAIRS):
        if best.dead == 0 or distances.max() == 0:
            break
        centroids = best.centroids.copy()
        dead = np.flatnonzero(best.counts == 0)
        centroids[dead] = points[np.argsort(-distances, kind="stable")[: len(dead)]]
        fitted = _lloyd(points, len(centroids), _REPAIR_ITERATIONS, seed, start=centroids)
        mended = describe(points, fitted)
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
    points: FloatArray, clusters: int, iterations: int, seed: int, *, start: FloatArray | None = None,
    restarts: int = 1,
) -> FloatArray:  # fmt: skip
    """Return the ``(K, D)`` centroids of faiss, from its own seeded choice or from ``start``."""
    faiss = _faiss()
    graphics = getattr(faiss, "get_num_gpus", lambda: 0)() > 0
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        # Left alone, faiss would silently fit on 256 points a centroid, and warn on stderr below 39.
        machine = faiss.Kmeans(
            points.shape[1], clusters, niter=iterations, nredo=restarts, seed=seed % _SEEDS, spherical=False,
            max_points_per_centroid=len(points), min_points_per_centroid=1, gpu=graphics,
        )  # fmt: skip
        machine.train(points, init_centroids=start)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.ascontiguousarray(machine.centroids, dtype=np.float32)


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
