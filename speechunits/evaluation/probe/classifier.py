"""The probe: softmax regression on standardised features, with a fixed penalty, fitted to its one optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from speechunits.units.extract import FloatArray, one_thread

IntArray = NDArray[np.int64]
_SPREAD = 1e-5
"""Features that vary less are constant."""


@dataclass(frozen=True)
class Softmax:
    """A fitted probe."""

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    """``(D, C)``."""
    bias: FloatArray
    """``(C,)``."""

    def predict(self, features: FloatArray) -> IntArray:
        """Return the ``(N,)`` most probable classes of ``(N, D)`` features."""
        chosen: IntArray = (((features - self.mean) / self.scale) @ self.weights + self.bias).argmax(axis=1)
        return chosen


def fit_softmax(
    features: FloatArray, labels: IntArray, classes: int, *, l2: float = 1e-3, iterations: int = 100
) -> Softmax:
    """Minimise mean cross-entropy + l2 / 2 Σ w² by L-BFGS from zero weights; the bias is not penalised.

    Convex: no seed has a say, and ``iterations`` only bounds the time.

    Raises
    ------
    ValueError
        If there are no examples, or numbers of features and labels differ.
    """
    if not len(features) == len(labels) > 0:
        raise ValueError(f"a probe must have as many labels as features, but has {len(labels)} and {len(features)}")
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale < _SPREAD, 1, scale).astype(features.dtype)
    points, targets = torch.from_numpy((features - mean) / scale), torch.from_numpy(labels)
    weights = torch.zeros(points.shape[1], classes, dtype=points.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=points.dtype, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights, bias], max_iter=iterations, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(points @ weights + bias, targets) + 0.5 * l2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with one_thread(), torch.enable_grad():  # type: ignore[no-untyped-call]
        search.step(loss)  # type: ignore[no-untyped-call]
    return Softmax(mean, scale, weights.detach().numpy(), bias.detach().numpy())
