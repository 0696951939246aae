"""Statistics that all ranks of a training share: marginals and codebooks must be the same everywhere.

Negatives, Sinkhorn's balance and SwAV's queue are per rank: each rank's loss is a whole contrast of its own. A
checkpoint holds the queue of rank 0 only, with which all ranks go on: a training of several ranks with a queue
(``swav.queue``, 0 by default) that was interrupted is not that which was not, for as many steps as the queue is long.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum over all ranks (the tensor itself where there is one); every rank must call it, in training."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def of_first_rank(tensor: Tensor) -> Tensor:
    """Return the tensor of rank 0; every rank must call it, with the same shape."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    shared: Tensor = torch.empty_like(tensor).copy_(tensor.detach())
    dist.broadcast(shared, src=0)
    return shared
