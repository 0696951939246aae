"""Products in bf16 whose GELU oneDNN computes before it rounds: one rounding instead of two, and one pass less.

These operators are those that torch's own compiler calls; where torch has none of them, or the processor no bf16, it is
a product and a GELU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.encoder.convolution import inferring, row_convolution


def fuses(frames: Tensor) -> bool:
    """Tell whether ``frames`` are on their way through a CPU in autocast's bf16, without gradients."""
    if not inferring(frames) or not torch.is_autocast_enabled("cpu"):
        return False
    return (
        torch.get_autocast_dtype("cpu") == torch.bfloat16
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def linear_gelu(frames: Tensor, linear: nn.Linear) -> Tensor:
    """Return GELU of a linear layer of ``(B, S, D)`` frames."""
    if not fuses(frames):
        return F.gelu(linear(frames))
    rows, weight, bias = frames.bfloat16(), linear.weight.bfloat16(), linear.bias.bfloat16()
    product = torch.ops.mkldnn._linear_pointwise
    # Row by row, so that none depends on how many there are.
    return torch.cat([product(row, weight, bias, "gelu", [], "none") for row in torch.split(rows, 1)])


def convolution_gelu(
    frames: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """Return GELU of :func:`row_convolution`."""
    if not fuses(frames):
        return F.gelu(row_convolution(frames, weight, bias, stride=stride, padding=padding, groups=groups))
    taps, offset = weight.bfloat16()[:, :, None], None if bias is None else bias.bfloat16()
    convolve = torch.ops.mkldnn._convolution_pointwise
    rows = [
        convolve(row, taps, offset, [0, padding], [1, stride], [1, 1], groups, "gelu", [], "none")
        for row in torch.split(frames.bfloat16()[:, :, None], 1)
    ]
    return (rows[0] if len(rows) == 1 else torch.cat(rows))[:, :, 0]
