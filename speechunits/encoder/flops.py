"""How much arithmetic an encoder is: floating-point operations (FLOPs), a multiplication and an addition being two.

Products with weights cost 2 FLOPs a weight and frame forward and twice that backward: 6·N·tokens (Kaplan et al. 2020,
§2.1). Attention adds two products of S × S × D for each row and block. Norms, activations and softmax are not counted.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from speechunits.config import EncoderConfig
from speechunits.encoder.frontend import WaveformFrontend
from speechunits.frames import HOP, RECEPTIVE_FIELD

BACKWARD = 2
"""A backward pass is this many forward passes: the gradients of the inputs and those of the weights."""


def block_weights(config: EncoderConfig) -> int:
    """Return N: the weights of the matrices of all blocks."""
    if config.context == "gru":
        return config.layers * 6 * config.dim**2  # three gates, of the input and of the state
    return config.layers * (4 * config.dim**2 + 2 * config.dim * config.ffn_dim)


def transformer_flops(config: EncoderConfig, frames: Tensor) -> Tensor:
    """Return the FLOPs of one forward pass of the blocks over rows of ``(B,)`` real frames, a float64 scalar.

    Real frames only: arithmetic spent on padding is not work done.
    """
    frames = frames.double()
    attention = 4 * config.layers * config.dim if config.context == "transformer" else 0
    return 2 * block_weights(config) * frames.sum() + attention * frames.square().sum()


def further_flops(config: EncoderConfig, blocks: int, frames: Tensor) -> Tensor:
    """Return the FLOPs of one forward pass of transformer blocks of a learner's own, of the encoder's sizes."""
    return transformer_flops(replace(config, layers=blocks, context="transformer"), frames)


def surrounding_flops(config: EncoderConfig, frames: int) -> int:
    """Return the FLOPs of one forward pass of everything before the blocks, over one row of ``frames`` frames.

    Convolutions, the projection into the context and the positions; without the mel filters, which get no gradient.
    """
    channels, dim = config.channels, config.dim
    # An even kernel of positions computes one frame too many.
    positioned = frames + 1 - config.position_kernel % 2
    positions = config.position_kernel * dim * (dim // config.position_groups) * positioned
    return frontend_flops(config, frames) + 2 * (channels * dim * frames + positions)


def frontend_flops(config: EncoderConfig, frames: int) -> int:
    """Return the FLOPs of one forward pass of the convolutions, over one row of ``frames`` frames."""
    channels = config.channels
    if config.frontend == "logmel":
        taps = 3 * (config.mel_bins + channels) * channels * frames
    else:
        taps, inputs, size = 0, 1, HOP * (frames - 1) + RECEPTIVE_FIELD
        for kernel, stride in WaveformFrontend.LAYERS:
            size = (size - kernel) // stride + 1
            taps += kernel * inputs * channels * size
            inputs = channels
    return 2 * taps


def encoder_flops(config: EncoderConfig, frames: int) -> float:
    """Return the FLOPs of one forward pass of a whole encoder over one row of ``frames`` frames."""
    return float(transformer_flops(config, torch.tensor([frames]))) + surrounding_flops(config, frames)
