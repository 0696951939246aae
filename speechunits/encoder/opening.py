"""The first convolution over a waveform at inference: product, norm and GELU in one go, block by block of frames.

Its output is the largest tensor of an encoder (6.5 MB a second of audio in fp32 at 512 channels): computed whole it
passes through memory once for the product, several times for the norm and once for the GELU. A block stays in cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 512
"""Frames a block: 1 MB at 512 channels in fp32."""


def over_time(
    waveforms: Tensor, lengths: Tensor, weight: Tensor, norm: tuple[Tensor, Tensor], *, stride: int, epsilon: float,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Return ``(B, S, C)`` of a convolution, a norm of each channel over time, and GELU; zero beyond a row's frames.

    Mean and variance of an output are w·μ and wᵀ Σ w, with μ and Σ of the K samples under a frame. So both are known
    before any product, and the norm is but another weight and a bias. The convolution's own bias would be part of the
    mean, and goes with it. In fp32, but for the result.

    Parameters
    ----------
    waveforms
        ``(B, T)`` samples.
    lengths
        ``(B,)`` real frames of the output.
    weight
        ``(C, 1, K)``.
    norm
        ``(C,)`` scale and shift after the norm.
    dtype
        Of the result.
    """
    scale, shift = norm
    size = (waveforms.shape[1] - weight.shape[2]) // stride + 1
    frames = torch.empty(len(waveforms), size, len(weight), dtype=dtype, device=waveforms.device)
    taps = weight.float().flatten(1)
    for row, length in enumerate(lengths.tolist()):
        frames[row, length:] = 0
        if not length:
            continue
        samples = waveforms[row].float().unfold(0, weight.shape[2], stride)[:length]
        mean, variance = _moments(samples, taps)
        factor = scale.float() * torch.rsqrt(variance + epsilon)
        product, constant = (taps * factor[:, None]).t().contiguous(), shift.float() - mean * factor
        for start in range(0, length, _BLOCK):
            block = slice(start, min(start + _BLOCK, length))
            frames[row, block] = F.gelu(torch.addmm(constant, samples[block], product))
    return frames


def _moments(samples: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ``(C,)`` means and variances of ``(S, K)`` samples times ``(C, K)`` taps."""
    # In double precision: the variance of a product is small beside its parts where the taps cancel.
    exact, weights = samples.double(), taps.double()
    mean = exact.mean(dim=0)
    centered = exact - mean
    spread = centered.t() @ centered / len(exact)
    variance = ((weights @ spread) * weights).sum(dim=1).clamp_min(0)
    return (weights @ mean).float(), variance.float()
