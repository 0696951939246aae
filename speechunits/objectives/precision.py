"""Losses compute in fp32 (or finer) whatever autocast does around them."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Return a half-precision tensor in fp32, another one as it is (gradient checks run in fp64)."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
