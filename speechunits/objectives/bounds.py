"""Entropies and the two bounds on mutual information, in bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy_bits(counts: Tensor) -> Tensor:
    """Return the plug-in entropy in bits of ``(..., V)`` counts over their last dimension.

    0 · log 0 = 0, and the entropy of nothing is 0.
    """
    counts = counts.double()
    shares = counts / counts.sum(dim=-1, keepdim=True).clamp(min=1e-300)
    entropy: Tensor = -torch.special.xlogy(shares, shares).sum(dim=-1) / math.log(2)
    return entropy


def perplexity(counts: Tensor) -> Tensor:
    """Return 2 to the entropy of ``(..., V)`` counts: the number of symbols in even use; 1 if one symbol has all."""
    return torch.exp2(entropy_bits(counts))


def bits(nats: float) -> float:
    """Return nats in bits."""
    return nats / math.log(2)


def infonce_bits(loss_nats: float, candidates: int) -> float:
    """Return the InfoNCE bound I(x; y) ≥ log2 N − L in bits (van den Oord et al. 2018, §2.3 and appendix A.1).

    Parameters
    ----------
    loss_nats
        Mean loss L of picking the positive among the candidates, in nats, with duplicates of the positive kept.
    candidates
        N: the positive and its negatives.
    """
    return math.log2(candidates) - bits(loss_nats)


def direct_bits(entropy: float, cross_entropy: float) -> float:
    """Return H(z) − Ĥ(z | x) in bits, of which the cross-entropy is an upper bound (McAllester, TTIC 31230).

    Both in bits and over the same held-out symbols: the entropy of their histogram, and the model's mean code length.
    """
    return entropy - cross_entropy
