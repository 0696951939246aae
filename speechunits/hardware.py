"""What the processor at hand is good at."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2
"""glibc's numbers of the settings of its allocator (malloc.h)."""
_NEVER = 2**31 - 1
_GROW_BY = 64 * 2**20
_KERNELS = 2048
"""Compiled matrix kernels kept, .3 MB each: some 30 for each shape of batch, and there are some 70 shapes."""
DENSE_BF16_FLOPS = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12}
"""FLOP/s of dense bf16 products with fp32 sums, by the vendor's data sheets (SXM modules)."""
_SIDE, _TRIES = 1024, 4


def cores() -> int:
    """Return how many cores this process may use; all there are where the system does not tell (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_computes_bf16() -> bool:
    """Tell whether the processor multiplies bf16 numbers itself: emulated, they are slower than fp32."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def keep_memory_and_kernels() -> None:
    """Let this process keep what a training step would otherwise ask for again in the next: pages and CPU kernels.

    glibc returns large freed blocks to the system, which clears each page anew when it is touched again: thousands of
    faults a step. oneDNN forgets the least used kernels beyond 1024; its limit is read when it makes the first.
    Elsewhere than on Linux with glibc the allocator is left alone.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))
    if sys.platform != "linux":
        return
    allocator = getattr(ctypes.CDLL(None), "mallopt", None)
    if allocator is not None:
        for setting, value in ((_MMAP_THRESHOLD, _NEVER), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROW_BY)):
            allocator(setting, value)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of dense products that a device is capable of: what utilisation (MFU) is measured against.

    Known cards by their data sheet in bf16, whatever ``dtype`` is; others, and CPUs with the threads torch has now, by
    the best of a few square products in ``dtype``, which takes tens of milliseconds.
    """
    import torch  # noqa: PLC0415 - the command line asks this module for less

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for card in sorted(DENSE_BF16_FLOPS, key=len, reverse=True):
            if card in name:
                return DENSE_BF16_FLOPS[card]
    side = _SIDE if device.type == "cpu" else 8 * _SIDE
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(_TRIES):
        started = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best
