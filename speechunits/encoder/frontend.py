"""Front ends: from samples to 50 Hz vectors, by convolutions over the waveform or over log-mel frames.

Both yield ``S = (T - 400) // 320 + 1`` frames. A real frame depends on real samples only: statistics are taken over the
real part of a row, and what lies beyond it is zeroed before every convolution that could reach it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.config import EncoderConfig
from speechunits.encoder.convolution import FrameConvolution, inferring
from speechunits.encoder.fused import convolution_gelu, fuses
from speechunits.encoder.opening import over_time
from speechunits.features.mel import LogMel, mel_frame_counts
from speechunits.frames import HOP, frames_mask

_EPSILON = 1e-5


def zero_beyond(frames: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(B, S, D)`` frames (or ``(B, S)`` values) with everything beyond each row's length set to zero.

    Filled, not multiplied: what lies beyond may be NaN.
    """
    padding = ~frames_mask(lengths, frames.shape[1])
    return frames.masked_fill(padding[..., None] if frames.dim() == 3 else padding, 0.0)


def normalize(frames: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(B, S, D)`` frames with zero mean and unit variance over the real part of each row, zero beyond it."""
    count = lengths.clamp(min=1)[:, None, None]
    frames = zero_beyond(frames, lengths)
    centered = zero_beyond(frames - frames.sum(dim=1, keepdim=True) / count, lengths)
    variance = centered.square().sum(dim=1, keepdim=True) / count
    return centered * torch.rsqrt(variance + _EPSILON)


class RunningNorm:
    """Takes out of each frame the mean and variance of all frames up to itself, those of calls before included."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Tensor, Tensor] | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the ``(B, S, D)`` frames that come next, normalised."""
        # In double precision: the variance is a difference of sums.
        exact = frames.double()
        sums, squares = exact.cumsum(dim=1), exact.square().cumsum(dim=1)
        if self._sums is not None:
            sums, squares = self._sums[0] + sums, self._sums[1] + squares
        count = torch.arange(1, frames.shape[1] + 1, device=frames.device, dtype=torch.float64)[None, :, None]
        count += self._count
        mean = sums / count
        variance = (squares / count - mean.square()).clamp(min=0)
        self._count += frames.shape[1]
        self._sums = sums[:, -1:], squares[:, -1:]
        return ((exact - mean) * torch.rsqrt(variance + _EPSILON)).to(frames.dtype)


def normalize_running(frames: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(B, S, D)`` frames, each with the mean and variance of the real frames up to itself taken out."""
    return zero_beyond(RunningNorm()(zero_beyond(frames, lengths)), lengths)


def normalize_samples(waveforms: Tensor, lengths: Tensor, epsilon: float = _EPSILON) -> Tensor:
    """Return ``(B, T)`` samples with zero mean and unit variance over the real part of each row, zero beyond it.

    ``waveforms`` are zero beyond each length already.
    """
    count = lengths.clamp(min=1)[:, None]
    centered = zero_beyond(waveforms - _sums(waveforms) / count, lengths)
    return centered * torch.rsqrt(_sums(centered.square()) / count + epsilon)


def _sums(samples: Tensor) -> Tensor:
    # In two stages: torch splits a sum among threads where it is the only one, so that one row would round differently.
    stages = F.pad(samples, (0, -samples.shape[1] % HOP)).view(samples.shape[0], -1, HOP)
    return stages.sum(dim=1).sum(dim=1, keepdim=True)


class LogMelFrontend(nn.Module):
    """Log-mel frames at 100 Hz, then two convolutions over three frames each, the first of stride 2."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.input_norm = config.input_norm
        self.mel = LogMel(config.mel_bins)
        self.reduce = FrameConvolution(config.mel_bins, config.channels, 3, stride=2, padding=1, causal=config.causal)
        self.reduce_norm = nn.LayerNorm(config.channels)
        self.refine = FrameConvolution(config.channels, config.channels, 3, padding=1, causal=config.causal)
        for convolution in (self.reduce, self.refine):
            nn.init.kaiming_normal_(convolution.weight)

    def forward(self, waveforms: Tensor, lengths: Tensor, frame_lengths: Tensor, mel: Tensor | None = None) -> Tensor:
        """Return ``(B, S, channels)`` for ``(B, T)`` samples and the ``(B,)`` samples and frames of each row.

        ``mel`` is their ``(B, M, bins)`` log-mel where it has been computed already.
        """
        features, counts = (mel, mel_frame_counts(lengths)) if mel is not None else self.mel(waveforms, lengths)
        norms = {"window": normalize, "running": normalize_running, "none": zero_beyond}
        features = norms[self.input_norm](features, counts)
        frames = F.gelu(self.reduce_norm(self.reduce(features)))
        frames = zero_beyond(frames, frame_lengths)
        return F.gelu(self.refine(frames))


class WaveformFrontend(nn.Module):
    """The seven convolutions of wav2vec 2.0 (Baevski et al. 2020, §2 and §4.2), each followed by a norm and a GELU."""

    LAYERS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
    """Kernel and stride: together 400 samples every 320."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.normalizes = config.input_norm == "window"
        self.epsilon = config.input_epsilon
        layered = config.frontend_norm == "layer"
        biased = layered if config.frontend_bias is None else config.frontend_bias
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for index, (kernel, stride) in enumerate(self.LAYERS):
            inputs = config.channels if index else 1
            convolution = FrameConvolution(inputs, config.channels, kernel, stride=stride, bias=biased)
            nn.init.kaiming_normal_(convolution.weight)
            self.convolutions.append(convolution)
            norm = nn.LayerNorm(config.channels) if layered else TimeNorm(config.channels) if index == 0 else None
            self.norms.append(norm if norm is not None else nn.Identity())

    def forward(
        self, waveforms: Tensor, lengths: Tensor, frame_lengths: Tensor, mel: Tensor | None = None  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        """Return ``(B, S, channels)`` for ``(B, T)`` samples and the ``(B,)`` samples and frames of each row.

        ``frame_lengths`` and ``mel`` are those of :class:`LogMelFrontend`, and not needed here.
        """
        waveforms = zero_beyond(waveforms.float(), lengths)
        frames = (normalize_samples(waveforms, lengths, self.epsilon) if self.normalizes else waveforms)[..., None]
        for convolution, norm, (kernel, stride) in zip(self.convolutions, self.norms, self.LAYERS, strict=True):
            lengths = torch.where(lengths < kernel, 0, (lengths - kernel) // stride + 1)
            if isinstance(norm, TimeNorm) and isinstance(convolution, FrameConvolution) and inferring(frames):
                frames = norm.after(convolution, frames[..., 0], lengths)
                continue
            if isinstance(norm, nn.Identity) and isinstance(convolution, FrameConvolution) and fuses(frames):
                flat = convolution_gelu(frames.transpose(1, 2), convolution.weight, convolution.bias, stride=stride)
                frames = flat.transpose(1, 2)
                continue
            frames = convolution(frames)
            frames = F.gelu(norm(frames, lengths) if isinstance(norm, TimeNorm) else norm(frames))
        return frames


class TimeNorm(nn.Module):
    """Group norm with one group a channel, over the real frames of a row only: padding changes nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return the normalised ``(B, S, channels)`` frames; ``lengths`` are the ``(B,)`` real frames of each row."""
        with torch.autocast(frames.device.type, enabled=False):
            return normalize(frames.float(), lengths) * self.weight + self.bias

    def after(self, convolution: FrameConvolution, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Return GELU of this norm of a convolution over ``(B, T)`` samples, in autocast's type; without gradients."""
        device = waveforms.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            return over_time(
                waveforms, lengths, convolution.weight, (self.weight, self.bias), stride=convolution.stride[0],
                epsilon=_EPSILON, dtype=dtype,
            )  # fmt: skip


def build_frontend(config: EncoderConfig) -> LogMelFrontend | WaveformFrontend:
    """Return the front end that ``config.frontend`` names."""
    return LogMelFrontend(config) if config.frontend == "logmel" else WaveformFrontend(config)
