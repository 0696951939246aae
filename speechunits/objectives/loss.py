"""What every objective returns: sums and counts, so that batches and ranks add up."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """A loss as a sum over its targets. A tuple, so that data-parallel wrappers find the tensors inside."""

    sum: Tensor
    """Scalar, nats, differentiable: the trainer divides it by the global ``count``."""
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    """Scalar: number of targets."""
    metrics: dict[str, tuple[Tensor, Tensor]]
    """Name to detached (sum, count): what is averaged over a whole evaluation (``loss``, ``accuracy``, …)."""
    histograms: dict[str, Tensor]
    """Name to detached counts ``(G, V)``: what must be summed before its entropy is taken."""
