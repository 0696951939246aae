"""Convolutions over frames whose output for a row never depends on how many rows there are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.encoder.stacked import stacked_convolution, trains_in_bf16


class FrameConvolution(nn.Conv1d):
    """A convolution over ``(B, S, C)`` frames; the weights are those of ``nn.Conv1d``.

    For one short row torch takes another convolution kernel on CPUs than for several, with other roundings. Without
    gradients, where a row alone must equal the row in a batch bit for bit, the taps are therefore stacked and
    multiplied. ``causal``: padded on the left alone, so that a frame reads none that comes after it.
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
        if trains_in_bf16(frames):
            stride, padding = self.stride[0], int(self.padding[0])
            return stacked_convolution(frames, self.weight, self.bias, stride=stride, padding=padding)
        if frames.device.type != "cpu" or torch.is_grad_enabled() or torch.onnx.is_in_onnx_export():
            return super().forward(frames.transpose(1, 2)).transpose(1, 2)
        (taps,), (stride,), (padding,) = self.kernel_size, self.stride, (int(self.padding[0]),)
        if padding:
            frames = F.pad(frames, (0, 0, padding, padding))
        span = (frames.shape[1] - taps) // stride * stride + 1
        stacked = torch.cat([frames[:, tap : tap + span : stride] for tap in range(taps)], dim=-1)
        return F.linear(stacked, self.weight.transpose(1, 2).flatten(1), self.bias)
