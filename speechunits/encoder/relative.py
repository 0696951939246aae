"""WavLM's gated relative position bias (Chen et al. 2022, §3.1, after Chi et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechunits.config import EncoderConfig

_GATES = 2
_SUMMED = 4
"""Outputs of the gates' projection that are added up into one gate."""


def relative_buckets(size: int, buckets: int, distance: int) -> Tensor:
    """Return the ``(S, S)`` bucket of frame j as seen from frame i.

    Half of the buckets lie behind, half ahead; of each half, the first half holds one offset a bucket, the others grow
    logarithmically up to ``distance``, beyond which all offsets share the last.
    """
    half = buckets // 2
    exact = half // 2
    place = torch.arange(size)
    offset = place[None, :] - place[:, None]
    far = offset.abs()
    # In this order in fp32: offsets near a bucket's edge must fall as they fell in training.
    growth = torch.log(far.clamp(min=1).float() / exact) / math.log(distance / exact) * (half - exact)
    grown = (exact + growth).long().clamp(max=half - 1)
    return torch.where(far < exact, far, grown) + half * (offset > 0).long()


class RelativePositions(nn.Module):
    """A learned bias for each bucket of offsets and head, shared by all blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.buckets = config.relative_buckets
        self.distance = config.relative_distance
        self.embedding = nn.Embedding(config.relative_buckets, config.heads)

    def forward(self, size: int) -> Tensor:
        """Return the ``(1, H, S, S)`` bias before its gate."""
        buckets = relative_buckets(size, self.buckets, self.distance).to(self.embedding.weight.device)
        bias: Tensor = self.embedding(buckets).permute(2, 0, 1)[None]
        return bias


class RelativeGate(nn.Module):
    """How much a frame minds relative positions, a number a head: ``g_u (g_r s − 1) + 2`` with sigmoid gates."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(dim // heads, _GATES * _SUMMED)
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(self, frames: Tensor) -> Tensor:
        """Return ``(B, H, S, 1)`` for the ``(B, S, D)`` input of an attention."""
        batch, size, _ = frames.shape
        split = frames.view(batch, size, self.heads, -1).transpose(1, 2)
        gates = self.projection(split).view(batch, self.heads, size, _GATES, _SUMMED).sum(dim=-1).sigmoid()
        update, reset = gates[..., :1], gates[..., 1:]
        gate: Tensor = update * (reset * self.scale[:, None, None] - 1) + 2
        return gate
