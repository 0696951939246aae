"""Decreasing isotonic curves and where they cross a level, over many resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def decreasing_fit(values: Array) -> Array:
    """Return the least-squares non-increasing fit along the last axis of ``(…, N)`` values.

    The min-max formula of isotonic regression (Robertson, Wright & Dykstra 1988, §1.4): fit_i is the least over a ≤ i
    of the greatest over b ≥ i of the mean of a … b. Quadratic in N, which is a handful of budgets, and vectorised over
    the resamples in front, which the pool-adjacent-violators algorithm is not.
    """
    size = values.shape[-1]
    cumulative = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    first, last = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    means = (cumulative[..., last + 1] - cumulative[..., first]) / np.maximum(last - first + 1, 1)
    means = np.where(last >= first, means, -np.inf)
    greatest = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]  # (…, a, i): over b ≥ i
    greatest = np.where(last >= first, greatest, np.inf)
    return np.asarray(np.minimum.accumulate(greatest, axis=-2)[..., np.arange(size), np.arange(size)])


def first_crossing(positions: Array, fit: Array, level: Array) -> Array:
    """Return where a non-increasing ``(…, N)`` fit over ``(N,)`` positions first reaches a ``(…)`` level.

    Linear between positions; clipped to the first position where the fit starts at or below the level, and to the last
    where it never reaches it (callers tell these two censored cases apart by comparing the ends of the fit).
    """
    reached = fit <= level[..., None]
    right = np.where(reached.any(axis=-1), reached.argmax(axis=-1), len(positions) - 1)
    left = np.maximum(right - 1, 0)
    above = np.take_along_axis(fit, left[..., None], axis=-1)[..., 0]
    below = np.take_along_axis(fit, right[..., None], axis=-1)[..., 0]
    drop = np.where(above > below, above - below, 1.0)
    share = np.clip((above - level) / drop, 0.0, 1.0)
    share = np.where(reached.any(axis=-1), share, 1.0)
    return np.asarray(positions[left] + share * (positions[right] - positions[left]))
