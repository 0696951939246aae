"""Spans masked in fine-tuning (SpecAugment, Park et al. 2019), drawn from an explicit generator."""

from __future__ import annotations

import torch
from torch import Tensor

from speechunits.config import AugmentConfig
from speechunits.frames import FRAME_RATE_HZ


def span_mask(lengths: Tensor, size: int, *, spans: int, widest: int, generator: torch.Generator) -> Tensor:
    """Return a ``(B, size)`` mask, true in ``spans`` spans a row of 0 to ``widest`` positions within ``(B,)`` lengths.

    torchaudio's masking draws from the global generator and over the padding too: hence our own. Everything is drawn on
    the CPU, so that the masks of a seed do not depend on the device, and without the lengths, which a GPU would have to
    be waited for.
    """
    device = lengths.device
    limits = lengths[:, None].clamp(min=1)
    uniform = torch.rand(2, len(lengths), max(spans, 1), generator=generator, pin_memory=device.type == "cuda")
    uniform = uniform.to(device, non_blocking=True)
    widths = (uniform[0] * (limits.clamp(max=widest) + 1)).long()
    # A span may cover at most half of a short row: masking all of it teaches nothing but blanks.
    widths = torch.minimum(widths, limits // 2)
    starts = (uniform[1] * (limits - widths + 1)).long()
    positions = torch.arange(size, device=device)[None, None, :]
    inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
    return inside[:, :spans].any(dim=1)


def augment_masks(
    config: AugmentConfig,
    frame_lengths: Tensor,
    size: int,
    channels: int,
    *,
    rate_hz: float = FRAME_RATE_HZ,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return the time mask ``(B, size)`` and the channel mask ``(B, channels)`` of a batch with ``(B,)`` lengths."""
    generator = torch.Generator().manual_seed(seed)
    time = span_mask(
        frame_lengths, size, spans=config.time_masks, widest=round(config.time_mask_s * rate_hz), generator=generator
    )
    channel = span_mask(
        torch.full_like(frame_lengths, channels), channels,
        spans=config.channel_masks, widest=round(config.channel_mask_share * channels), generator=generator,
    )  # fmt: skip
    return time, channel
