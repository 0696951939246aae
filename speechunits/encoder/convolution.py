"""Convolutions over frames whose channels come last in memory, as they do in everything around them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGE = 2**20
"""Values of a row from which its taps are not stacked: a copy of all of them, and half as many again."""


class FrameConvolution(nn.Conv1d):
    """A convolution over ``(B, S, C)`` frames; the weights are those of ``nn.Conv1d``.

    For one short row torch takes another convolution kernel on CPUs than for several, with other roundings. Without
    gradients, where a row alone must equal the row in a batch bit for bit, the taps are therefore stacked and
    multiplied, or, where that would fill the memory, rows go through torch's kernel one by one. ``causal``: padded on
    the left alone, so that a frame reads none that comes after it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, causal: bool = False, **options: Any) -> None:
        super().__init__(inputs, outputs, kernel, **({**options, "padding": 0} if causal else options))
        self.past = kernel - 1 if causal else 0

    def forward(self, frames: Tensor, past: Tensor | None = None) -> Tensor:
        """Return ``(B, S', C')`` frames; ``past`` ``(B, P, C)`` are those before, in the place of causal padding."""
        if past is not None:
            frames = torch.cat([past, frames], dim=1)
        elif self.past:
            frames = F.pad(frames, (0, 0, self.past, 0))
        if not on_cpu(frames):
            return super().forward(frames.transpose(1, 2)).transpose(1, 2)
        (taps,), (stride,), (padding,) = self.kernel_size, self.stride, (int(self.padding[0]),)
        if inferring(frames) and self.groups == 1 and frames.shape[1] * frames.shape[2] <= _LARGE:
            frames = F.pad(frames, (0, 0, padding, padding)) if padding else frames
            return F.linear(stacked_taps(frames, taps, stride), self.weight.transpose(1, 2).flatten(1), self.bias)
        convolve = row_convolution if inferring(frames) else flat_convolution
        convolved = convolve(
            frames.transpose(1, 2), self.weight, self.bias, stride=stride, padding=padding, groups=self.groups
        )
        return convolved.transpose(1, 2)


def on_cpu(frames: Tensor) -> bool:
    """Tell whether ``frames`` are computed on a CPU, and not to be traced for another program."""
    return frames.device.type == "cpu" and not torch.onnx.is_in_onnx_export()


def inferring(frames: Tensor) -> bool:
    """Tell whether ``frames`` are computed :func:`on_cpu` without gradients."""
    return on_cpu(frames) and not torch.is_grad_enabled()


def stacked_taps(frames: Tensor, taps: int, stride: int) -> Tensor:
    """Return ``(B, S', K C)``: beside each other the K frames of ``(B, S, C)`` that every output reads."""
    span = (frames.shape[1] - taps) // stride * stride + 1
    return torch.cat([frames[:, tap : tap + span : stride] for tap in range(taps)], dim=-1)


def flat_convolution(
    frames: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """Return torch's ``conv1d`` of ``(B, C, S)`` frames that lie in memory as ``(B, S, C)``, and the result likewise.

    As images one pixel high: of these torch leaves such a layout as it is, where ``conv1d`` copies to and fro, and
    oneDNN is faster in it, gradients included: most where each channel is a group.
    """
    return _images(frames[:, :, None], weight, bias, stride, padding, groups)[:, :, 0]


def row_convolution(
    frames: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """Return :func:`flat_convolution` row by row, so that none depends on how many there are."""
    rows = [_images(row, weight, bias, stride, padding, groups) for row in torch.split(frames[:, :, None], 1)]
    # Joined while they are images: joined as rows they would have channels first.
    return (rows[0] if len(rows) == 1 else torch.cat(rows))[:, :, 0]


def _images(frames: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int) -> Tensor:
    return F.conv2d(frames, weight[:, :, None], bias, stride=(1, stride), padding=(0, padding), groups=groups)
