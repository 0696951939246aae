"""Where in a recording somebody speaks: a recogniser hears that span, and says nothing before or after it.

Field recordings begin and end with pauses. A network that hears them must find out by itself where texts begin, which
takes one that starts from nothing many audio-hours (LOG).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.audio.sampler import padded_samples
from speechunits.features.mel import mel_frame_count
from speechunits.frames import HOP, RECEPTIVE_FIELD
from speechunits.learners.targets import frame_energies
from speechunits.objectives.chosen import waits_for_counts
from speechunits.objectives.ctc import BLANK

EDGE_DB = -25.0
"""Before the first frame, and after the last, that is less than this below the loud ones of its row, nobody speaks."""
_LOUD = 0.05
"""Share of the frames that are louder than a loud one: a click is no measure of a voice."""
_MARGIN = 5
"""Frames kept on either side of the first and the last: words may begin and end quietly."""
_NEVER = -1e4
"""Logit of what is not said: finite in half precision."""


def spoken_span(waveforms: Tensor, frame_lengths: Tensor) -> Tensor:
    """Return ``(B, S)``, true from the first to the last frame of each row that is loud enough, a margin included.

    ``(B, T)`` samples with ``(B,)`` real frames. Nowhere in a row without sound; everywhere in one of even noise.
    """
    energies, real = frame_energies(waveforms, frame_lengths)
    if energies.shape[1] == 0:
        return real
    place = (_LOUD * frame_lengths).long().clamp(max=energies.shape[1] - 1)[:, None]
    loud = energies.sort(dim=1, descending=True).values.gather(1, place) * 10 ** (EDGE_DB / 10)
    heard = F.max_pool1d((real & (energies > loud)).float()[:, None], 2 * _MARGIN + 1, 1, _MARGIN)[:, 0]
    return real & (heard.cumsum(dim=1) > 0) & (heard.flip(1).cumsum(dim=1).flip(1) > 0)


def cropped(waveforms: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Return the samples that the frames of ``(B, S)`` spans read, moved to the start of their rows, and their lengths.

    ``(B, U)`` samples, zero beyond each length, and ``(B,)``. U is as small as the longest span allows; as long as
    before where the host would have to wait for the device to learn it.
    """
    counts = span.sum(dim=1)
    lengths = torch.where(counts > 0, (counts - 1) * HOP + RECEPTIVE_FIELD, 0)
    size = waveforms.shape[1]
    if not waits_for_counts(waveforms.device):
        size = min(size, padded_samples(int(lengths.max())))
    samples = torch.arange(size, device=waveforms.device)[None, :]
    places = (first_frames(span)[:, None] * HOP + samples).clamp(max=waveforms.shape[1] - 1)
    return waveforms.gather(1, places).masked_fill(samples >= lengths[:, None], 0.0), lengths


def cropped_mel(mel: Tensor, span: Tensor, samples: int) -> Tensor:
    """Return the ``(B, N, bins)`` log-mel of the ``samples`` that :func:`cropped` leaves, of ``(B, M, bins)``."""
    size = mel_frame_count(samples)
    frames = torch.arange(size, device=mel.device)[None, :]
    places = (2 * first_frames(span)[:, None] + frames).clamp(max=max(mel.shape[1] - 1, 0))
    # n frames hold 2 n − 1 of them.
    beyond = frames >= 2 * span.sum(dim=1, keepdim=True) - 1
    return mel.gather(1, places[..., None].expand(-1, -1, mel.shape[2])).masked_fill(beyond[..., None], 0.0)


def placed(logits: Tensor, span: Tensor) -> Tensor:
    """Return ``(B, S, V)``: logits where they belong in ``(B, S)`` spans, and elsewhere such that the blank is certain.

    ``(B, C, V)`` logits begin with the first frame of each span.
    """
    batch, size = span.shape
    silence = logits.new_full((batch, 1, logits.shape[-1]), _NEVER)
    silence[..., BLANK] = 0.0
    frames = torch.arange(size, device=span.device)[None, :] - first_frames(span)[:, None]
    places = torch.where(span, frames, logits.shape[1])
    return torch.cat((logits, silence), dim=1).gather(1, places[..., None].expand(-1, -1, logits.shape[-1]))


def first_frames(span: Tensor) -> Tensor:
    """Return the ``(B,)`` first frame of each ``(B, S)`` span; 0 where there is none."""
    if span.shape[1] == 0:
        return span.sum(dim=1)
    return span.int().argmax(dim=1)
