"""A grouped convolution whose gradients cost CPUs less than torch's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from speechunits.encoder.convolution import flat_convolution, inferring, on_cpu, row_convolution

_BLOCK = 8
"""Neighbouring outputs whose weight gradients are computed by one product."""
_LARGEST = 1024
"""Taps times channels of a group up to which that is worth its memory."""


def grouped_convolution(frames: Tensor, weight: Tensor, bias: Tensor, *, groups: int, padding: int) -> Tensor:
    """Return torch's ``conv1d`` of ``(B, C, S)`` frames with a ``(C, C / groups, K)`` weight, in autocast's type.

    On a CPU of one thread, bf16, 192 channels in 16 groups, 31 taps, 960 frames, torch's gradients took 10.4 ms, these
    4.4 (the product itself is .8): that of the frames is a convolution again, that of the weight a banded product.
    """
    if inferring(frames):
        return row_convolution(frames, weight, bias, padding=padding, groups=groups)
    if not on_cpu(frames):
        return F.conv1d(frames, weight, bias, padding=padding, groups=groups)
    if weight.shape[1] * weight.shape[2] > _LARGEST:
        return flat_convolution(frames, weight, bias, padding=padding, groups=groups)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        frames, weight, bias = frames.to(dtype), weight.to(dtype), bias.to(dtype)
    convolved: Tensor = _Grouped.apply(frames, weight, bias, groups, padding)  # type: ignore[no-untyped-call]
    return convolved


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor, groups: int, padding: int) -> Tensor:
        ctx.save_for_backward(frames, weight)
        ctx.groups, ctx.padding = groups, padding
        return F.conv1d(frames, weight, bias, padding=padding, groups=groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        frames, weight = ctx.saved_tensors
        groups, taps = ctx.groups, weight.shape[-1]
        mirrored = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flip(-1).flatten(0, 1)
        to_frames = F.conv1d(gradient, mirrored, padding=taps - 1 - ctx.padding, groups=groups)
        to_weight = weight_gradient(frames, gradient, groups=groups, padding=ctx.padding, taps=taps)
        return to_frames, to_weight, gradient.sum(dim=(0, 2)), None, None


def weight_gradient(frames: Tensor, gradient: Tensor, *, groups: int, padding: int, taps: int) -> Tensor:
    """Return the ``(D, C / groups, K)`` gradient of the weight for ``(B, C, S)`` frames and ``(B, D, S')`` gradient.

    With outputs in blocks of L, block n reads the L + K − 1 frames j from n·L on. One product a group over all blocks
    holds Σ frame j · gradient l for all j and l; the gradient of tap k is the sum of its diagonal j = k + l.
    """
    batch, size = len(gradient), gradient.shape[-1]
    blocks = -(-size // _BLOCK)
    span = _BLOCK + taps - 1
    beyond = blocks * _BLOCK + taps - 1 - padding - frames.shape[-1]
    padded = F.pad(frames, (padding, beyond))
    rows = padded.view(batch, groups, -1, padded.shape[-1]).permute(1, 0, 3, 2).contiguous()
    inputs, outputs = rows.shape[-1], gradient.shape[1] // groups
    # Windows overlap in memory: K − 1 frames of each are those of the next.
    strides = (rows.stride(0), rows.stride(1), _BLOCK * inputs, 1)
    windows = rows.as_strided((groups, batch, blocks, span * inputs), strides).flatten(1, 2)
    ends = F.pad(gradient, (0, blocks * _BLOCK - size)).view(batch, groups, outputs, blocks, _BLOCK)
    ends = ends.permute(1, 0, 3, 4, 2).reshape(groups, batch * blocks, _BLOCK * outputs)
    pairs = torch.bmm(windows.transpose(1, 2), ends).view(groups, span, inputs, _BLOCK, outputs)
    group, frame, channel, end, output = pairs.stride()
    diagonals = pairs.as_strided((groups, taps, inputs, outputs, _BLOCK), (group, frame, channel, output, frame + end))
    total = diagonals.sum(dim=-1, dtype=torch.promote_types(pairs.dtype, torch.float32))
    return total.permute(0, 3, 2, 1).flatten(0, 1).to(gradient.dtype)
