"""The encoder: samples in, every layer out, at 50 Hz."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.context import Context
from speechunits.encoder.frontend import build_frontend, zero_beyond
from speechunits.errors import ModelRefused
from speechunits.frames import RECEPTIVE_FIELD, frame_count, frame_counts

LATENTS = -1
"""The layer that the front end's own output counts as."""


class EncoderOutput(NamedTuple):
    """All that an encoder computes from a batch; padding frames are zero everywhere."""

    latents: Tensor
    """``(B, S, C)`` output of the front end after its layer norm, never masked: what a quantiser sees."""
    layers: tuple[Tensor, ...]
    """``(B, S, D)`` each: 0 the projected latents (masked where asked for), k the output after k blocks."""
    output: Tensor
    """``(B, S, D)``: the last layer, after the final norm of a pre-norm model."""
    frame_lengths: Tensor
    """``(B,)`` real frames of each row."""
    penalty: Tensor
    """``(B, S)`` fp32 mean squared front-end output before its layer norm: wav2vec 2.0's feature penalty."""

    def layer(self, number: int) -> Tensor:
        """Return ``(B, S, D)`` of layer ``number``, or the ``(B, S, C)`` latents for ``LATENTS``."""
        return self.latents if number == LATENTS else self.layers[number]


class Encoder(nn.Module):
    """A front end and a context network.

    Neither padding, nor what it holds, nor the other rows change a row's real frames.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = build_frontend(config)
        self.norm = nn.LayerNorm(config.channels) if config.latent_norm else nn.Identity()
        self.context = Context(config)

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks: layers are addressed from 0 to this number, both included."""
        return len(self.context.blocks)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        *,
        mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
        depth: int | None = None,
        every_layer: bool = True,
        mel: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode a batch.

        Parameters
        ----------
        waveforms
            ``(B, T)`` samples at 16 kHz within [-1, 1].
        lengths
            ``(B,)`` real samples of each row, at most ``T``.
        mask
            ``(B, S)``, true where the projected frame is replaced by the learned mask embedding.
        channel_mask
            ``(B, C)``, true where a channel of the latents is zeroed on its way into the context.
        depth
            Blocks to run, by default all: layers beyond are left out, and ``output`` is that of the last one run.
        every_layer
            False: ``layers`` stays empty, for those who read the output only.
        mel
            ``(B, M, bins)`` log-mel of the waveforms, where it has been computed already; a front end over samples does
            not read it.
        """
        frame_lengths = frame_counts(lengths)
        size = frame_count(waveforms.shape[1])
        if size == 0:
            # One frame of padding, dropped below: every module runs, as data-parallel wrappers expect.
            waveforms = F.pad(waveforms, (0, RECEPTIVE_FIELD - waveforms.shape[1]))
            mask = mel = None
        latents, penalty = self.latents(waveforms, lengths, mel)
        seen = latents if channel_mask is None else latents.masked_fill(channel_mask[:, None, :], 0.0)
        layers, output = self.context(seen, frame_lengths, mask, depth=depth, every_layer=every_layer)
        return EncoderOutput(
            latents[:, :size],
            tuple(layer[:, :size] for layer in layers),
            output[:, :size],
            frame_lengths,
            penalty[:, :size],
        )

    def latents(self, waveforms: Tensor, lengths: Tensor, mel: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``(B, S, C)`` latents, before any context, and ``(B, S)`` mean squares before their norm."""
        frame_lengths = frame_counts(lengths)
        features = self.frontend(waveforms, lengths, frame_lengths, mel).float()
        penalty = zero_beyond(features.square().mean(dim=-1), frame_lengths)
        return zero_beyond(self.norm(features), frame_lengths), penalty


class _Undrawn(TorchFunctionMode):
    """Weights without values are neither drawn nor measured: torch would import its compiler for that, a second."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if getattr(function, "__module__", None) == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        if function is torch.hann_window:
            return torch.empty(args[0])
        if function is torch.norm_except_dim:
            tensor, _, kept = args
            return tensor.new_empty([size if dim == kept else 1 for dim, size in enumerate(tensor.shape)])
        return function(*args, **(kwargs or {}))


def encoder_from_export(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Encoder:
    """Return the encoder that a learner exported, in evaluation mode.

    Raises
    ------
    ModelRefused
        If a tensor is missing, unknown or of the wrong shape.
    """
    config = build_config(EncoderConfig, header["encoder"], origin="encoder of the bundle")
    _check_sizes(config, tensors)
    # A fresh encoder draws the weights that are then replaced: nobody else's randomness may change by it.
    with torch.random.fork_rng(devices=[]):
        encoder = Encoder(config)
    load_exported(encoder, tensors, "encoder.")
    return encoder.eval()


def _check_sizes(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a configuration of other sizes than the tensors before memory is taken for it."""
    stored = {name.removeprefix("encoder."): tensor.shape for name, tensor in tensors.items()}
    if config.layers <= len(stored):
        with torch.device("meta"), _Undrawn():
            wanted = {name: tensor.shape for name, tensor in Encoder(config).state_dict().items()}
        wrong = [name for name, shape in wanted.items() if stored.get(name) != shape]
    else:
        wrong = [f"context.blocks.{config.layers - 1}"]
    if wrong:
        raise ModelRefused(
            f"the tensors encoder.* must be those of the header's configuration, but {len(wrong)} are not (was the "
            f"file edited, or made by another version?). Missing or of another shape: {', '.join(wrong[:5])}"
        )


def load_exported(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Load the tensors whose names start with ``prefix`` into ``module``, all of them and no others.

    Raises
    ------
    ModelRefused
        If a tensor is missing, unknown or of the wrong shape.
    """
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelRefused(
            f"the tensors {prefix}* must be those of the header's configuration, but are not (was the file edited, "
            f"or made by another version?): {error}"
        ) from error
