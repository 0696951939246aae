"""Frames chosen by a mask, without waiting for a device to say how many there are.

Indexing by a mask gives a tensor whose shape the host must know. On CPUs it is free to know, and only the chosen frames
are computed with; elsewhere all places are kept, the chosen ones first, and the others are left out by weight.
"""

from __future__ import annotations

import torch
from torch import Tensor


def chosen_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(N,)`` int64 places of the true elements of a mask of any shape, flattened, in order, and which are.

    On CPUs N is their number and the second tensor, ``(N,)``, is true throughout. On another device N is the number
    of all elements; those that are not true come last.
    """
    flat = mask.flatten()
    if not waits_for_counts(mask.device):
        places = flat.nonzero()[:, 0]
        return places, torch.ones_like(places, dtype=torch.bool)
    places = torch.argsort(~flat, stable=True)
    return places, flat[places]


def waits_for_counts(device: torch.device) -> bool:
    """Tell whether the host must wait for a device to learn a number from it."""
    return device.type != "cpu"


def histogram(symbols: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Return ``(size,)`` counts of the chosen among ``(N,)`` symbols.

    torch's own would ask the device for the largest first.
    """
    counts = torch.zeros(size, dtype=torch.int64, device=symbols.device)
    return counts.scatter_add_(0, symbols, chosen.long())


def on_device(numbers: list[int], device: torch.device) -> Tensor:
    """Return a tensor of numbers; a GPU fetches them from pinned memory when it is ready."""
    return torch.tensor(numbers, pin_memory=device.type == "cuda").to(device, non_blocking=True)
