"""A causal encoder that is given a recording piece by piece, and remembers what it needs of the pieces before.

Its frames are those that :class:`Encoder` gives for the whole but for roundings: products have other shapes. Every
frame is computed once; kept are keys and values of attention, states of recurrent layers, sums of the running norm, and
as many frames before each convolution as its kernel reaches back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.encoder.context import Context, Past
from speechunits.encoder.encoder import LATENTS, Encoder
from speechunits.encoder.frontend import LogMelFrontend, RunningNorm, WaveformFrontend
from speechunits.errors import UsageError
from speechunits.features.mel import MEL_HOP
from speechunits.frames import HOP, RECEPTIVE_FIELD, frame_count


class Increment(NamedTuple):
    """The frames that a piece has completed."""

    latents: Tensor
    """``(1, S, C)``, as those of :class:`EncoderOutput`."""
    layers: tuple[Tensor, ...]
    """``(1, S, D)`` each."""

    def layer(self, number: int) -> Tensor:
        """Return what :meth:`EncoderOutput.layer` does."""
        return self.latents if number == LATENTS else self.layers[number]


class IncrementalEncoder:
    """One recording on its way through a causal encoder.

    Parameters
    ----------
    encoder
        In evaluation mode.
    depth
        Blocks to run; the layers after them are not computed. None: no context at all, latents only.

    Raises
    ------
    UsageError
        If the encoder is not causal.
    """

    def __init__(self, encoder: Encoder, depth: int | None) -> None:
        if not encoder.config.causal:
            raise UsageError("an encoder must be causal to hear a recording piece by piece, but is not")
        self._encoder = encoder
        front = encoder.frontend
        self._front: _LogMel | _Waveform = _LogMel(front) if isinstance(front, LogMelFrontend) else _Waveform(front)
        self._context = None if depth is None else _Context(encoder.context, depth)
        self._held = torch.zeros(1, 0)
        self._frames = 0
        self._samples = 0

    @torch.inference_mode()
    def extend(self, samples: Tensor) -> Increment:
        """Return the frames that the next ``(T,)`` samples complete, perhaps none."""
        self._held = torch.cat([self._held, samples[None]], dim=1)
        self._samples += len(samples)
        total = frame_count(self._samples)
        if total == self._frames:
            config = self._encoder.config
            empty = torch.zeros(1, 0, config.dim)
            layers = 0 if self._context is None else self._context.depth + 1
            return Increment(torch.zeros(1, 0, config.channels), (empty,) * layers)
        begun, self._frames = self._samples - self._held.shape[1], total
        features = self._front(self._held[:, : HOP * (total - 1) + RECEPTIVE_FIELD - begun]).float()
        keep = max(0, HOP * total - self._front.overlap)
        self._held = self._held[:, keep - begun :]
        latents = self._encoder.norm(features).float()
        return Increment(latents, () if self._context is None else self._context(latents))


class _Waveform:
    """Convolutions without padding: a frame is made of its own 400 samples alone."""

    overlap = 0
    """Samples before a frame's own that its features are made of."""

    def __init__(self, frontend: WaveformFrontend) -> None:
        self._frontend = frontend

    def __call__(self, samples: Tensor) -> Tensor:
        lengths = torch.tensor([samples.shape[1]])
        frames: Tensor = self._frontend(samples, lengths, lengths)
        return frames


class _LogMel:
    """Log-mel frames 2 s - 1 and 2 s make frame s, with one before them and two frames before that are kept."""

    overlap = MEL_HOP

    def __init__(self, frontend: LogMelFrontend) -> None:
        self._frontend = frontend
        self._norm = RunningNorm() if frontend.input_norm == "running" else None
        self._mel = torch.zeros(1, frontend.reduce.past, frontend.reduce.in_channels)
        self._reduced = torch.zeros(1, frontend.refine.past, frontend.refine.in_channels)

    def __call__(self, samples: Tensor) -> Tensor:
        front = self._frontend
        features, _ = front.mel(samples, torch.tensor([samples.shape[1]]))
        if self._norm is not None:
            features = self._norm(features)
        frames = F.gelu(front.reduce_norm(front.reduce(features, self._mel)))
        self._mel = features[:, -1:]
        refined: Tensor = F.gelu(front.refine(frames, self._reduced))
        self._reduced = _last(self._reduced, frames)
        return refined


class _Context:
    """Positions and the first ``depth`` blocks."""

    def __init__(self, context: Context, depth: int) -> None:
        self.depth = depth
        self._context = context
        self._blocks = [(block, Past()) for block in context.blocks[:depth]]
        self._projected = torch.zeros(1, context.positions.past, context.projection.out_features)
        self._heard = 0

    def __call__(self, latents: Tensor) -> tuple[Tensor, ...]:
        context, size = self._context, latents.shape[1]
        frames = context.projection(latents).float()
        layers = [frames]
        positions = context.positions(frames, self._projected)
        self._projected = _last(self._projected, frames)
        frames = frames + positions
        if not context.pre_norm:
            frames = context.norm(frames)
        self._heard += size
        keys = torch.ones(size, self._heard, dtype=torch.bool).tril(self._heard - size)[None, None]
        relative = None if context.relative is None else context.relative(self._heard)[:, :, -size:]
        for block, past in self._blocks:
            frames = block(frames, keys, relative, past)
            layers.append(frames)
        return tuple(layers)


def _last(before: Tensor, frames: Tensor) -> Tensor:
    """Return as many of the last frames as there were kept before."""
    joined = torch.cat([before, frames], dim=1)
    return joined[:, joined.shape[1] - before.shape[1] :]
