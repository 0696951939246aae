"""Log-mel spectrogram: 25 ms windows every 10 ms, never centred, so that no sample beyond a recording is invented."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from speechunits.frames import HOP, RECEPTIVE_FIELD, SAMPLE_RATE_HZ

MEL_HOP = HOP // 2
"""Samples between two log-mel frames (10 ms): two of them a 50 Hz frame."""
_FFT_SIZE = 512
_LINEAR_HZ = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = math.log(6.4) / 27
"""Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz a mel up to 1 kHz, 27 mel a factor of 6.4 above."""
_FLOOR = 1e-9
"""Added to every mel energy: about that of the rounding of 16-bit samples, so that digital silence is no outlier."""


def mel_frame_count(samples: int) -> int:
    """Return M, the number of log-mel frames of ``samples`` samples."""
    return 0 if samples < RECEPTIVE_FIELD else (samples - RECEPTIVE_FIELD) // MEL_HOP + 1


def mel_frame_counts(lengths: Tensor) -> Tensor:
    """Return M, the number of log-mel frames, for each of the ``(B,)`` lengths in samples."""
    return torch.where(lengths < RECEPTIVE_FIELD, 0, (lengths - RECEPTIVE_FIELD) // MEL_HOP + 1)


def mel_filters(bins: int) -> Tensor:
    """Return the ``(257, bins)`` triangular filters, 0 to 8000 Hz, on Slaney's mel scale with unit area.

    Slaney's scale is linear below 1 kHz: up to 94 filters keep at least one bin of the Fourier transform each.
    """
    # In double precision on the CPU, a constant: also where an encoder is laid out on the meta device to be counted.
    edges = _hertz(np.linspace(0.0, _mels(SAMPLE_RATE_HZ / 2), bins + 2))
    spectrum = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _FFT_SIZE // 2 + 1)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (spectrum - left) / (middle - left), (right - spectrum) / (right - middle)
    triangles = np.minimum(rising, falling).clip(min=0.0) * 2 / (right - left)
    return torch.from_numpy(triangles.astype(np.float32))


def _mels(hertz: float) -> float:
    """Return the place of a frequency on Slaney's scale."""
    return hertz / _LINEAR_HZ if hertz < _KNEE_HZ else _KNEE_MEL + math.log(hertz / _KNEE_HZ) / _LOG_STEP


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    curved: NDArray[np.float64] = _KNEE_HZ * np.exp(_LOG_STEP * (mels - _KNEE_MEL))
    return np.where(mels < _KNEE_MEL, _LINEAR_HZ * mels, curved)


class LogMel(nn.Module):
    """Natural logarithm of the mel energies of Hann windows; fp32 always, no parameters."""

    window: Tensor
    filters: Tensor

    def __init__(self, bins: int = 80) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(RECEPTIVE_FIELD), persistent=False)
        self.register_buffer("filters", mel_filters(bins), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-mel features and their lengths.

        Parameters
        ----------
        waveforms
            ``(B, T)`` samples within [-1, 1].
        lengths
            ``(B,)`` real samples of each row.

        Returns
        -------
        ``(B, M, bins)`` with ``M = (T - 400) // 160 + 1`` (0 below 400 samples), and the ``(B,)`` real frames of each
        row. A real frame reads real samples only; what lies beyond is left as it comes.
        """
        counts = mel_frame_counts(lengths)
        if waveforms.shape[1] < RECEPTIVE_FIELD:
            return waveforms.new_zeros((waveforms.shape[0], 0, self.filters.shape[1]), dtype=torch.float32), counts
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = waveforms.float().unfold(1, RECEPTIVE_FIELD, MEL_HOP) * self.window
            spectrum = torch.fft.rfft(frames, n=_FFT_SIZE)
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(power @ self.filters + _FLOOR), counts


class FourierLogMel(nn.Module):
    """:class:`LogMel` as a convolution with windowed sines and cosines: for formats that know no Fourier transform."""

    waves: Tensor
    filters: Tensor

    def __init__(self, original: LogMel) -> None:
        super().__init__()
        sample = torch.arange(RECEPTIVE_FIELD, dtype=torch.float64)
        bins = torch.arange(_FFT_SIZE // 2 + 1, dtype=torch.float64)
        angles = 2 * math.pi * bins[:, None] * sample[None, :] / _FFT_SIZE
        waves = torch.cat([angles.cos(), angles.sin()]) * original.window.double()
        self.register_buffer("waves", waves.float()[:, None], persistent=False)
        self.register_buffer("filters", original.filters, persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return what :class:`LogMel` returns, for at least 400 samples."""
        real, imaginary = F.conv1d(waveforms[:, None], self.waves, stride=MEL_HOP).chunk(2, dim=1)
        power = (real.square() + imaginary.square()).transpose(1, 2)
        return torch.log(power @ self.filters + _FLOOR), mel_frame_counts(lengths)
