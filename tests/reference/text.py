"""Slow oracles of text statistics."""

from __future__ import annotations

import math

import numpy as np


def entropy_rate(table):
    """Return Σ_i π_i H(row i) of a Markov chain in bits, π by powers of the matrix."""
    stationary = np.full(len(table), 1 / len(table))
    for _ in range(2000):
        stationary = stationary @ table
    return -sum(stationary[i] * p * math.log2(p) for i in range(len(table)) for p in table[i] if p > 0)


def slope(xs, ys):
    """Return the least-squares slope by its textbook sums."""
    count = len(xs)
    x, y = sum(xs) / count, sum(ys) / count
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)
