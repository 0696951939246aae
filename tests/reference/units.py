"""Slow oracles for units: nearest centroids and runs, by loops."""

from __future__ import annotations

import numpy as np


def nearest(features, centroids):
    ids = []
    for row in features.astype(np.float64):
        distances = [((row - center) ** 2).sum() for center in centroids.astype(np.float64)]
        ids.append(int(np.argmin(distances)))
    return ids


def runs(units):
    found = []
    for index, unit in enumerate(units):
        if found and found[-1][0] == unit:
            found[-1][2] = index
        else:
            found.append([unit, index, index])
    return [tuple(run) for run in found]
