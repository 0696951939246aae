"""Span masks over frames."""

from __future__ import annotations

import torch
from torch import Tensor

from speechunits.config import MaskConfig
from speechunits.frames import frames_mask


def span_mask(frame_lengths: Tensor, size: int, config: MaskConfig, generator: torch.Generator) -> Tensor:
    """Return a ``(B, size)`` mask of spans of frames (wav2vec 2.0 §3.1 and appendix A).

    A row of L frames gets ``start_prob * L`` spans (rounded up or down at random, and at least ``min_spans``), at
    distinct starts drawn uniformly so that every span lies within the real frames; spans may overlap. With the
    defaults about 49 % of the frames are masked. A row shorter than one span has none.

    Parameters
    ----------
    frame_lengths
        ``(B,)`` real frames of each row.
    generator
        Source of randomness; on the device of ``frame_lengths``.
    """
    device, batch = frame_lengths.device, frame_lengths.shape[0]
    places = (frame_lengths - config.span + 1).clamp(min=0)
    rounding = torch.rand(batch, generator=generator, device=device)
    wanted = (config.start_prob * frame_lengths + rounding).floor().long().clamp(min=config.min_spans)
    count = torch.minimum(wanted, places)
    longest = _longest(frame_lengths, size)
    scores = torch.rand((batch, longest), generator=generator, device=device)
    scores = torch.nn.functional.pad(scores, (0, size - longest)).masked_fill(~frames_mask(places, size), -1.0)
    ranks = scores.argsort(dim=1, descending=True).argsort(dim=1)
    # A frame is masked if one of the last ``span`` frames, itself included, is a start.
    begun = (ranks < count[:, None]).cumsum(dim=1)
    ended = torch.nn.functional.pad(begun, (config.span, 0))[:, :size]
    return begun > ended


def _longest(frame_lengths: Tensor, size: int) -> int:
    """Return as many frames as are to be drawn for: on CPUs those of the longest row, so that padding changes no mask.

    Another device would have to be waited for.
    """
    if frame_lengths.device.type != "cpu":
        return size
    return min(int(frame_lengths.max()), size) if len(frame_lengths) else 0
