"""What the processor at hand is good at."""

from __future__ import annotations

from pathlib import Path


def cpu_computes_bf16() -> bool:
    """Tell whether the processor multiplies bf16 numbers itself: emulated, they are slower than fp32."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})
