"""What a training finds in its process, and leaves as it was: threads, random state, memory, its device."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from speechunits.hardware import keep_memory_and_kernels


def own_device() -> torch.device:
    """Return the device of this rank: the GPU of its number on its node, else the CPU."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def machine_state(threads: int) -> Iterator[None]:
    """Use ``threads`` torch threads (0: leave them) and leave threads and random state as they were.

    Python looks for rings of references every few hundred allocations: what was there before the training (modules by
    the hundred thousand) is left out of that, 4 % of a step of the smallest encoder.
    """
    keep_memory_and_kernels()
    gc.freeze()
    before = torch.get_num_threads()
    device = own_device()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            gc.unfreeze()
