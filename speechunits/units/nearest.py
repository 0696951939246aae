"""Which of the centroids is nearest to a frame, and by how much."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_ROWS = 1024
"""Frames at a time, more than a window has: their distances are then still in cache when the least is looked for."""


def nearest(features: FloatArray, centroids: Tensor) -> IntArray:
    """Return the ``(S,)`` index of the nearest of the ``(K, D)`` centroids to each ``(S, D)`` row, in fp32.

    Of equally near centroids the first is taken.
    """
    if len(features) == 0:
        return np.zeros(0, np.int64)
    squares, factors = centroids.square().sum(dim=1), (-2 * centroids).T.contiguous()
    ids = np.empty(len(features), np.int64)
    distances = torch.empty(min(_ROWS, len(features)), len(centroids))
    for start in range(0, len(features), _ROWS):
        rows = torch.from_numpy(np.ascontiguousarray(features[start : start + _ROWS], dtype=np.float32))
        found = torch.addmm(squares, rows, factors, out=distances[: len(rows)])
        ids[start : start + _ROWS] = np.argmin(found.numpy(), axis=1)
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
