"""The objective of SimCLR (Chen et al. 2020, equation 1): the normalised, temperature-scaled cross-entropy.

x and y are two views of a frame, z_x and z_y their projections, and the bound is I(x; y) ≥ ln N − L.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


def nt_xent_loss(
    first: Tensor, second: Tensor, *, temperature: float, groups: Tensor | None = None, real: Tensor | None = None
) -> Loss:
    """Return NT-Xent over both views: each of the 2 N vectors picks its partner among the 2 N − 1 others.

    Parameters
    ----------
    first, second
        ``(N, D)``; rows with the same number are a pair.
    temperature
        τ: cosines are divided by it.
    groups
        ``(N,)`` int64: candidates come from pairs of the same group alone (one utterance); None: from all pairs.
    real
        ``(N,)``, true where there is a pair: the others neither count nor are candidates; None: everywhere.

    The metrics hold what is reported: ``loss``, picking the partner among the other view's vectors only, and
    ``chance``, the mean of ln N over the anchors. Candidates of both views come in correlated pairs, for which the
    theorem does not speak; those of one view are independent draws.
    """
    pairs = first.shape[0]
    if groups is None:
        groups = torch.zeros(pairs, dtype=torch.int64, device=first.device)
    if real is None:
        real = torch.ones_like(groups, dtype=torch.bool)
    itself = torch.eye(pairs, dtype=torch.bool, device=first.device)
    # What is no pair has itself for its only candidate: a loss of 0, not of infinity.
    allowed = (groups[:, None] == groups[None, :]) & real[:, None] & real[None, :] | itself
    with torch.autocast(first.device.type, enabled=False):
        first, second = (F.normalize(at_least_fp32(view), dim=-1) for view in (first, second))
        hidden = ~allowed | itself
        across = (first @ second.T / temperature).masked_fill(~allowed, float("-inf"))
        total, reported = first.new_zeros(()), first.new_zeros(())
        right = torch.zeros((), dtype=torch.int64, device=first.device)
        partner = torch.arange(pairs, device=first.device)
        for anchors, cosines in ((first, across), (second, across.T)):
            within = (anchors @ anchors.T / temperature).masked_fill(hidden, float("-inf"))
            positive = torch.diagonal(cosines)
            total = total + (torch.logsumexp(torch.cat((cosines, within), dim=1), dim=1) - positive).mul(real).sum()
            others = cosines.detach()
            reported = reported + (torch.logsumexp(others, dim=1) - positive.detach()).mul(real).sum()
            # A tie is a miss: where all candidates are equal nothing was recognised.
            best = others.scatter(1, partner[:, None], float("-inf")).amax(dim=1) if pairs else positive
            right = right + ((positive.detach() > best) & real).sum()
    count = 2 * real.sum()
    chance = 2 * (allowed.sum(dim=1).to(reported.dtype).log() * real).sum()
    metrics = {"loss": (reported, count), "chance": (chance, count), "accuracy": (right, count)}
    return Loss(total, count, metrics, {})
