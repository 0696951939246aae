"""MFCC on the project's 50 Hz grid: the baseline of every unit table and the first targets of masked prediction."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from speechunits.features.mel import LogMel

COEFFICIENTS = 13
_BINS = 40


class Mfcc(nn.Module):
    """13 cepstra of 40 log-mel bins, their first and second differences, every second frame of 10 ms."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(_BINS)
        self.register_buffer("basis", cosines(COEFFICIENTS, _BINS), persistent=False)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Return the ``(S, 39)`` features of ``(T,)`` samples, each of mean 0 and variance 1 over the window.

        Frame ``i`` is centred on sample ``320 i + 200``, as everywhere; ``S`` is that of ``frames.frame_count``.
        """
        features, _ = self.mel(waveform[None], torch.tensor([waveform.shape[0]]))
        with torch.autocast(waveform.device.type, enabled=False):
            cepstra = features[0] @ self.basis
            slopes = differences(cepstra)
            stacked = torch.cat((cepstra, slopes, differences(slopes)), dim=1)[::2]
            if stacked.shape[0] == 0:
                return stacked
            spread = stacked.std(dim=0, unbiased=False)
            return (stacked - stacked.mean(dim=0)) / (spread + 1e-5)


def cosines(coefficients: int, bins: int) -> Tensor:
    """Return the ``(bins, coefficients)`` orthonormal basis of the cosine transform of type II."""
    places, orders = np.arange(bins)[:, None] + 0.5, np.arange(coefficients)
    basis = np.cos(np.pi / bins * places * orders) * math.sqrt(2 / bins)
    basis[:, 0] /= math.sqrt(2)
    return torch.from_numpy(basis.astype(np.float32))


def differences(frames: Tensor, reach: int = 2) -> Tensor:
    """Return the regression slope over ``± reach`` frames of ``(M, D)`` frames; the edge frames are repeated."""
    count = frames.shape[0]
    if count == 0:
        return frames
    index = torch.arange(count, device=frames.device)
    total = torch.zeros_like(frames)
    for step in range(1, reach + 1):
        ahead, behind = (index + step).clamp(max=count - 1), (index - step).clamp(min=0)
        total += step * (frames[ahead] - frames[behind])
    return total / (2 * sum(step * step for step in range(1, reach + 1)))


def mfcc(waveform: Tensor) -> Tensor:
    """Return the ``(S, 39)`` MFCC of ``(T,)`` samples at 16 kHz: see :class:`Mfcc`."""
    features: Tensor = _transform(waveform.device)(waveform)
    return features


@functools.cache
def _transform(device: torch.device) -> Mfcc:
    return Mfcc().to(device)
