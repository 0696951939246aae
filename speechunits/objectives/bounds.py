"""Entropies and the two bounds on mutual information, in bits; and the information of what can be computed exactly.

CPC theorem: I(x; y) ≥ ln N − L, L the loss of picking y among N candidates, N − 1 of them drawn from the marginal (van
den Oord et al. 2018, appendix A.1; proof for any critic: Poole et al. 2019, §2.3). It never exceeds ln N.
Direct theorem: I(x; z) = H(z) − H(z | x) ≥ H(z) − Ĥ(z | x), since a cross-entropy is no less than the entropy.
"""

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


def infonce_estimate_bits(scores: Tensor) -> float:
    """Return the CPC theorem's left side, log2 N − L in bits, from ``(M, N)`` scores, the positive first.

    With log p(y | x) / p(y) as scores the loss is the least possible; any other scores give a looser bound.
    """
    scores = scores.double()
    loss = (torch.logsumexp(scores, dim=1) - scores[:, 0]).mean()
    return infonce_bits(float(loss), scores.shape[1])


def direct_estimate_bits(symbols: Tensor, log_probabilities: Tensor) -> float:
    """Return the direct theorem's H(z) − Ĥ(z | x) in bits from ``(M,)`` symbols and ``(M, K)`` ln P(z | x)."""
    counts = torch.bincount(symbols, minlength=log_probabilities.shape[1])
    loss = -torch.gather(log_probabilities.double(), 1, symbols[:, None]).mean()
    return direct_bits(float(entropy_bits(counts)), bits(float(loss)))


def gaussian_information_bits(correlation: float) -> float:
    """Return I(x; y) = −½ log2(1 − ρ²) of two jointly Gaussian numbers with correlation ρ, |ρ| < 1."""
    return -0.5 * math.log2(1 - correlation**2)


def joint_information_bits(joint: Tensor) -> float:
    """Return I(x; y) = H(x) + H(y) − H(x, y) of a ``(X, Y)`` table of probabilities or counts."""
    return float(entropy_bits(joint.sum(dim=1)) + entropy_bits(joint.sum(dim=0)) - entropy_bits(joint.flatten()))
