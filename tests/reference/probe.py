"""Slow oracle of the probe: the penalised likelihood of softmax regression, climbed by plain gradient steps."""

from __future__ import annotations

import numpy as np


def softmax_regression(features, labels, classes, l2, steps=20_000, rate=0.5):
    """Return ``(D, C)`` weights and ``(C,)`` bias that minimise mean cross-entropy + l2 / 2 Σ w²."""
    features = np.asarray(features, np.float64)
    weights, bias = np.zeros((features.shape[1], classes)), np.zeros(classes)
    targets = np.eye(classes)[labels]
    for _ in range(steps):
        scores = features @ weights + bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (odds / odds.sum(axis=1, keepdims=True) - targets) / len(features)
        weights -= rate * (features.T @ error + l2 * weights)
        bias -= rate * error.sum(axis=0)
    return weights, bias
