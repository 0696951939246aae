"""What units are made from: a layer of an encoder, the learner's own codebook, or MFCC."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.encoder.context import Positions
from speechunits.encoder.encoder import LATENTS, Encoder
from speechunits.encoder.quantizer import ProductQuantizer
from speechunits.errors import UsageError
from speechunits.features.mel import LogMel
from speechunits.features.mfcc import COEFFICIENTS, mfcc
from speechunits.frames import frame_count, frame_counts, frames_mask

Precision = Literal["fp32", "bf16"]


class Features(ABC):
    """Padded windows in, one vector a frame out."""

    dim: int
    """D."""
    causal = False
    """Whether a frame reads nothing after its own samples, but for smoothing."""
    device = torch.device("cpu")
    """Where :meth:`compute` wants its input."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each representation, where several stand side by side; they sum to D."""
        return (self.dim,)

    def to(self, device: torch.device) -> None:
        """Move to a device what there is to move: MFCC stay on the processor."""
        del device

    @abstractmethod
    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Return ``(B, S, D)`` float32 for ``(B, T)`` samples of ``(B,)`` real lengths; padding frames mean nothing."""


class MfccFeatures(Features):
    """39 MFCC: the baseline of every unit table."""

    dim = 3 * COEFFICIENTS

    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute each row over its real part alone."""
        features = waveforms.new_zeros((len(waveforms), frame_count(waveforms.shape[1]), self.dim))
        for row, length in enumerate(lengths.tolist()):
            features[row, : frame_count(length)] = mfcc(waveforms[row, :length])
        return features


class LogMelFeatures(Features):
    """80 log-mel energies: what an encoder begins with, every second frame of 10 ms."""

    dim = 80

    def __init__(self) -> None:
        self._mel = LogMel(self.dim)

    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute all rows at once: a real frame reads real samples only."""
        features: Tensor = self._mel(waveforms, lengths)[0][:, ::2]
        return features[:, : frame_count(waveforms.shape[1])]


class SmoothedFeatures(Features):
    """The mean over ``width`` frames around each frame, of those that are real."""

    def __init__(self, features: Features, width: int) -> None:
        self.features = features
        self.width = width
        self.dim = features.dim
        self.causal = features.causal

    @property
    def widths(self) -> tuple[int, ...]:
        """Those of what is averaged."""
        return self.features.widths

    def to(self, device: torch.device) -> None:
        """Move the features that are averaged."""
        self.features.to(device)
        self.device = self.features.device

    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Compute and average; at the edges of a row there are fewer frames to average."""
        frames = self.features.compute(waveforms, lengths)
        return self.average(frames, frames_mask(frame_counts(lengths), frames.shape[1]))

    def average(self, frames: Tensor, real: Tensor) -> Tensor:
        """Return the ``(B, S, D)`` means of frames, of which those count that ``(B, S)`` says are real."""
        rows, weights = frames.transpose(1, 2).where(real[:, None], 0.0), real[:, None].float()
        return (self._mean(rows) / self._mean(weights)).transpose(1, 2)

    def _mean(self, rows: Tensor) -> Tensor:
        return F.avg_pool1d(rows, self.width, stride=1, padding=self.width // 2)


def smoothed(features: Features, width: int) -> Features:
    """Return the features averaged over ``width`` frames, themselves for 1."""
    return features if width == 1 else SmoothedFeatures(features, width)


def ready(encoder: Encoder, precision: Precision) -> Encoder:
    """Return the encoder in evaluation mode; for bf16 a copy whose products hold their weights in bf16.

    Autocast would round them to the same values, but anew in every window: an eighth of the time of a large encoder.
    """
    if precision == "fp32":
        return encoder.eval()
    rounded = copy.deepcopy(encoder).eval()
    for module in rounded.modules():
        if isinstance(module, Positions):
            module.convolution = _settled(module.convolution)
        # These two are computed in fp32: all else is made of them, and they are cheap.
        if module is rounded.context.projection or (isinstance(module, nn.Conv1d) and module.in_channels == 1):
            continue
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.to(torch.bfloat16)
            module.weight.data = _taps_first(module.weight.data)
    return rounded


def _settled(convolution: nn.Conv1d) -> nn.Conv1d:
    """Return a convolution with the weight that a normalised one would compute in every window."""
    # Drawn for nothing, but quickly: without values, on the meta device, torch would import its compiler to do so.
    with torch.random.fork_rng(devices=[]):
        settled = nn.Conv1d(
            convolution.in_channels, convolution.out_channels, convolution.kernel_size[0], groups=convolution.groups
        )
    settled.weight, settled.bias = nn.Parameter(convolution.weight.detach()), convolution.bias
    return settled


def _taps_first(weight: Tensor) -> Tensor:
    """Return an equal weight, of a convolution as it lies in memory where channels are innermost."""
    return weight.transpose(1, 2).contiguous().transpose(1, 2) if weight.dim() == 3 else weight


class LayerFeatures(Features):
    """One layer of an encoder, or several side by side; ``LATENTS`` is the front end's own output."""

    def __init__(self, encoder: Encoder, layers: Sequence[int], precision: Precision = "fp32") -> None:
        for layer in layers:
            if not LATENTS <= layer <= encoder.num_layers:
                raise UsageError(
                    f"layer must be within {LATENTS} (the front end's output), 0 (its projection) and "
                    f"{encoder.num_layers} (last block), but is {layer} instead"
                )
        self.encoder = ready(encoder, precision)
        self.causal = encoder.config.causal
        self.layers = tuple(layers)
        self.precision = precision
        self.dim = sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Dimensions of each layer."""
        config = self.encoder.config
        return tuple(config.channels if layer == LATENTS else config.dim for layer in self.layers)

    @property
    def depth(self) -> int | None:
        """Blocks to run; None where the context is not needed at all."""
        deepest = max(self.layers)
        return None if deepest == LATENTS else deepest

    def to(self, device: torch.device) -> None:
        """Move the encoder."""
        self.encoder.to(device)
        self.device = device

    @torch.inference_mode()
    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Run the encoder once and take its layers."""
        with torch.autocast(waveforms.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            if self.depth is None:
                latents, _ = self.encoder.latents(waveforms, lengths)
                return torch.cat([latents.float()] * len(self.layers), dim=-1)
            output = self.encoder(waveforms, lengths, depth=self.depth)
        return torch.cat([output.layer(layer).float() for layer in self.layers], dim=-1)


class CodebookFeatures(Features):
    """The codebook entries a product quantiser chooses, embedded; or the pair itself as one number."""

    def __init__(
        self, encoder: Encoder, quantizer: ProductQuantizer, *, pairs: bool, precision: Precision = "fp32"
    ) -> None:
        self.encoder = ready(encoder, precision)
        self.causal = encoder.config.causal
        self.quantizer = quantizer.eval()
        self.pairs = pairs
        self.precision = precision
        config = quantizer.config
        self.dim = config.groups if pairs else quantizer.entries.shape[0] * quantizer.entries.shape[2]

    def to(self, device: torch.device) -> None:
        """Move encoder and quantiser."""
        self.encoder.to(device)
        self.quantizer.to(device)
        self.device = device

    @torch.inference_mode()
    def compute(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Return the embedded codes ``(B, S, D)``, or with ``pairs`` the codes of the groups ``(B, S, G)``."""
        with torch.autocast(waveforms.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            latents, _ = self.encoder.latents(waveforms, lengths)
        return self.choose(latents)

    def choose(self, latents: Tensor) -> Tensor:
        """Return the ``(B, S, D)`` features of ``(B, S, C)`` latents."""
        batch, frames, _ = latents.shape
        quantized = self.quantizer(latents.float().flatten(0, 1))
        chosen = quantized.codes if self.pairs else quantized.vectors
        features: Tensor = chosen.float().view(batch, frames, self.dim)
        return features
