"""Codebooks learnt online as moving averages of clusters (DinoSR: Liu et al. 2023, §3.2; van den Oord et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.chosen import histogram
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


class Codebook(NamedTuple):
    """V codewords as moving averages: codeword v is ``sums[v] / counts[v]``."""

    sums: Tensor
    """``(V, D)`` fp32."""
    counts: Tensor
    """``(V,)`` fp32."""

    @property
    def codewords(self) -> Tensor:
        """``(V, D)``."""
        return self.sums / self.counts[:, None]


@torch.no_grad()
def nearest(features: Tensor, codewords: Tensor) -> Tensor:
    """Return ``(N,)`` int64, the nearest of ``(V, D)`` codewords for each of ``(N, D)`` features (equation 3)."""
    with torch.autocast(features.device.type, enabled=False):
        features, codewords = at_least_fp32(features), at_least_fp32(codewords)
        # The features' own norm is the same for all codewords.
        return (codewords.square().sum(dim=-1) - 2 * features @ codewords.T).argmin(dim=-1)


@torch.no_grad()
def cluster_sums(features: Tensor, codes: Tensor, size: int, real: Tensor | None = None) -> Codebook:
    """Return the ``(size, D)`` sums and ``(size,)`` counts of features (where ``(N,)`` ``real``) by code.

    They are what ranks add up.
    """
    real = torch.ones_like(codes, dtype=torch.bool) if real is None else real
    features = at_least_fp32(features) * real[:, None]
    sums = features.new_zeros((size, features.shape[1])).index_add_(0, codes, features)
    return Codebook(sums, histogram(codes, real, size).to(features.dtype))


@torch.no_grad()
def updated_codebook(codebook: Codebook, batch: Codebook, *, decay: float) -> Codebook:
    """Return s ← τ s + (1 − τ) Σ z and n ← τ n + (1 − τ) |Z| (equations 4 and 5) for the codewords met in the batch.

    The others stay as they are: all of them decaying would leave rare ones without mass. So do those whose sums are
    not finite: a step whose update is skipped must not spoil them for good.
    """
    met = (batch.counts > 0) & batch.sums.isfinite().all(dim=-1)
    sums = decay * codebook.sums + (1 - decay) * batch.sums
    counts = decay * codebook.counts + (1 - decay) * batch.counts
    return Codebook(torch.where(met[:, None], sums, codebook.sums), torch.where(met, counts, codebook.counts))


def codeword_loss(logits: Tensor, codes: Tensor, speech: Tensor, real: Tensor | None = None) -> Loss:
    """Return the cross-entropy of the codewords of every codebook (equation 6).

    Parameters
    ----------
    logits
        ``(N, G, V)`` the student's, for each frame that counts and each codebook.
    codes
        ``(N, G)`` int64 the teacher's.
    speech
        ``(N,)``, true where the frame is not silent.
    real
        ``(N,)``, true where the frame counts; None: everywhere.

    Histograms, ``(G, V)`` each: ``targets``, the codes, and ``speech``, those of non-silent frames.
    """
    _, groups, size = logits.shape
    real = torch.ones_like(speech) if real is None else real
    with torch.autocast(logits.device.type, enabled=False):
        losses = F.cross_entropy(at_least_fp32(logits).flatten(0, 1), codes.flatten(), reduction="none")
        total = (losses.view_as(codes) * real[:, None]).sum()
    count = groups * real.sum()
    right = ((logits.detach().argmax(dim=-1) == codes) & real[:, None]).sum()

    def counted(chosen: Tensor) -> Tensor:
        return torch.stack([histogram(column, chosen, size) for column in codes.unbind(dim=1)])

    histograms = {"targets": counted(real), "speech": counted(speech & real)}
    return Loss(total, count, {"loss": (total.detach(), count), "accuracy": (right, count)}, histograms)
