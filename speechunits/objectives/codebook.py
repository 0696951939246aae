"""Codebooks learnt online as moving averages of clusters (DinoSR: Liu et al. 2023, §3.2; van den Oord et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
def cluster_sums(features: Tensor, codes: Tensor, size: int) -> Codebook:
    """Return the ``(size, D)`` sums and ``(size,)`` counts of features by code: what ranks add up."""
    features = at_least_fp32(features)
    sums = features.new_zeros((size, features.shape[1])).index_add_(0, codes, features)
    return Codebook(sums, torch.bincount(codes, minlength=size).to(features.dtype))


@torch.no_grad()
def updated_codebook(codebook: Codebook, batch: Codebook, *, decay: float) -> Codebook:
    """Return s ← τ s + (1 − τ) Σ z and n ← τ n + (1 − τ) |Z| (equations 4 and 5) for the codewords met in the batch.

    The others stay as they are: all of them decaying would leave rare ones without mass.
    """
    met = batch.counts > 0
    sums = decay * codebook.sums + (1 - decay) * batch.sums
    counts = decay * codebook.counts + (1 - decay) * batch.counts
    return Codebook(torch.where(met[:, None], sums, codebook.sums), torch.where(met, counts, codebook.counts))


def codeword_loss(logits: Tensor, codes: Tensor, speech: Tensor) -> Loss:
    """Return the cross-entropy of the codewords of every codebook (equation 6).

    Parameters
    ----------
    logits
        ``(N, G, V)`` the student's, for each frame that counts and each codebook.
    codes
        ``(N, G)`` int64 the teacher's.
    speech
        ``(N,)``, true where the frame is not silent.

    Histograms, ``(G, V)`` each: ``targets``, the codes, and ``speech``, those of non-silent frames.
    """
    frames, groups, size = logits.shape
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(at_least_fp32(logits).flatten(0, 1), codes.flatten(), reduction="sum")
    count = torch.tensor(frames * groups, device=codes.device)
    right = (logits.detach().argmax(dim=-1) == codes).sum()

    def histogram(chosen: Tensor) -> Tensor:
        return torch.stack([torch.bincount(column, minlength=size) for column in chosen.unbind(dim=1)])

    histograms = {"targets": histogram(codes), "speech": histogram(codes[speech])}
    return Loss(total, count, {"loss": (total.detach(), count), "accuracy": (right, count)}, histograms)
