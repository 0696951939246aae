"""The objective of contrastive predictive coding (van den Oord et al. 2018, equations 3 and 4).

x is the past of a frame, y the latent k frames later, and for every k the bound is I(x; y) ≥ ln N − L.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.chosen import chosen_places
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


def sample_pool(counted: Tensor, groups: Tensor, negatives: int, generator: torch.Generator) -> Tensor:
    """Return ``(B, N)`` int64 places among the B · S frames: the negatives of all frames of each row.

    Drawn uniformly and with replacement from the counted frames of the rows of the same group, as the bound asks:
    frames near the positive, and the positive itself, are among them. Groups without frames get places without meaning.

    Parameters
    ----------
    counted
        ``(B, S)``, true at the frames that may be drawn.
    groups
        ``(B,)`` int64: rows with the same number share their frames (utterance, speaker, or all).
    generator
        Source of randomness; on the device of ``counted``.
    """
    batch, size = counted.shape
    # The counted frames of each row, in order.
    order = torch.argsort(~counted, dim=1, stable=True).flatten()
    members = (groups[:, None] == groups[None, :]) * counted.sum(dim=1)
    ends = members.cumsum(dim=1)
    totals = ends[:, -1:]
    drawn = torch.rand((batch, negatives), generator=generator, device=counted.device) * totals
    # rand * n may round up to n.
    drawn = torch.minimum(drawn.long(), totals - 1).clamp(min=0)
    rows = torch.searchsorted(ends, drawn, right=True).clamp(max=batch - 1)
    place = drawn - torch.gather(ends - members, 1, rows)
    return rows * size + order[rows * size + place]


def step_pools(counted: Tensor, groups: Tensor, steps: int, negatives: int, generator: torch.Generator) -> Tensor:
    """Return ``(B, K, N)`` int64 places among the B · S frames: the negatives of each step of each row.

    As :func:`sample_pool`, but of step k only frames that can be k ahead of another: nothing before the k-th. Drawn
    from all frames, the first ones would be known never to be the positive, and the bound would read that as
    information.
    """
    batch, size = counted.shape
    offsets = torch.arange(1, steps + 1, device=counted.device)
    late = torch.arange(size, device=counted.device) >= offsets[:, None]
    apart = groups[:, None] * steps + offsets - 1
    drawn = sample_pool((counted[:, None] & late).flatten(0, 1), apart.flatten(), negatives, generator)
    return (drawn // (steps * size) * size + drawn % size).view(batch, steps, negatives)


def cpc_loss(predictions: Tensor, latents: Tensor, counted: Tensor, pool: Tensor, *, mask_same: bool) -> Loss:
    """Return how hard it is to pick the latent k frames ahead among the negatives of its row and k, summed over all k.

    Scores are log-bilinear (equation 3) over √D: ``predictions`` are the W_k c_t already.

    Parameters
    ----------
    predictions
        ``(B, S, K, D)``: what frame t says about frame t + k, k = 1 … K.
    latents
        ``(B, S, D)``.
    counted
        ``(B, S)``, true at the frames that are predicted.
    pool
        ``(B, K, N)`` places of negatives among the B · S frames.
    mask_same
        Leave negatives that are the positive out of ``sum`` (training). The metrics keep them: ``loss``, ``accuracy``,
        and ``loss_k`` for every step.
    """
    batch, size, steps, width = predictions.shape
    with torch.autocast(predictions.device.type, enabled=False):
        predictions, latents = at_least_fp32(predictions) * width**-0.5, at_least_fp32(latents)
        offsets = torch.arange(1, steps + 1, device=pool.device)
        places = torch.arange(size, device=pool.device)[:, None] + offsets
        # (B, S, K, D) views of the frames ahead, without a copy; what lies past the end is not valid below.
        ahead = F.pad(latents, (0, 0, 0, steps)).unfold(1, steps, 1)[:, 1:].transpose(2, 3)
        positive = (predictions * ahead).sum(dim=-1)
        negative = torch.einsum("bskd,bknd->bskn", predictions, latents.flatten(0, 1)[pool])
        valid = F.pad(counted, (0, steps)).unfold(1, steps, 1)[:, 1:]
        rows = size * torch.arange(batch, device=pool.device)[:, None, None]
        index, real = chosen_places(valid)
        same = ((rows + places)[..., None] == pool[:, None]).flatten(0, 2)[index]
        positive, negative = positive.flatten()[index], negative.flatten(0, 2)[index]
        kept = torch.logsumexp(torch.cat((positive[:, None], negative), dim=1), dim=1) - positive
        losses = kept
        if mask_same:
            candidates = torch.cat((positive[:, None], negative.masked_fill(same, float("-inf"))), dim=1)
            losses = torch.logsumexp(candidates, dim=1) - positive
    count = valid.sum()
    step_of = torch.where(real, offsets.expand(valid.shape).flatten()[index], 0)
    kept = kept.detach() * real
    metrics = {
        "loss": (kept.sum(), count),
        "accuracy": (((positive > negative.amax(dim=1)) & real).sum(), count),
        "negative_is_positive": ((same & real[:, None]).sum(), count * pool.shape[2]),
    }
    for step in range(1, steps + 1):
        metrics[f"loss_{step}"] = ((kept * (step_of == step)).sum(), (step_of == step).sum())
    return Loss((losses * real).sum(), count, metrics, {})
