"""What the hardware allows: FLOPs and bytes of a training step of each size; `python -m benchmarks.limits`.

The limit is the larger of two times: all products at the device's rate, and the optimiser's traffic at its bandwidth.
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table

from speechunits.config import EncoderConfig
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import BACKWARD, surrounding_flops, transformer_flops
from speechunits.frames import FRAME_RATE_HZ
from speechunits.hardware import cpu_computes_bf16, peak_flops

OPTIMIZER_BYTES = 28
"""AdamW in fp32 reads a weight, its gradient and two moments and writes three of them back: 7 × 4 bytes a parameter."""


def bandwidth() -> float:
    """Return bytes a second of a copy larger than any cache, reading and writing counted: the best of three."""
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - started)
    return 2 * source.nbytes / best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-s", type=float, default=20.0)
    parser.add_argument("--crop-s", type=float, default=10.0)
    parser.add_argument("--flops", type=float, help="FLOP/s of the device (default: measured here; Hopper 989e12)")
    parser.add_argument("--bytes", type=float, help="bytes/s of its memory (default: measured here; H200 4.8e12)")
    arguments = parser.parse_args()
    dtype = torch.bfloat16 if cpu_computes_bf16() else torch.float32
    rate = arguments.flops or peak_flops(torch.device("cpu"), dtype)
    speed = arguments.bytes or bandwidth()
    title = f"{arguments.batch_s:g} s a step in rows of {arguments.crop_s:g} s, at {rate:.3g} FLOP/s, {speed:.3g} B/s"
    table = Table("size", "front end", "parameters", "transformer GFLOP/s of audio", "rest GFLOP/s of audio",
                  "products ms", "optimiser ms", "limit, x real time", title=title)  # fmt: skip
    frames = round(arguments.crop_s * FRAME_RATE_HZ)
    for size in EncoderConfig.PRESETS:
        for frontend in ("logmel", "waveform"):
            config = EncoderConfig(**{**EncoderConfig.PRESETS[size], "size": size, "frontend": frontend})
            with torch.device("meta"):
                parameters = sum(p.numel() for p in Encoder(config).parameters())
            inside = (1 + BACKWARD) * float(transformer_flops(config, torch.tensor([frames]))) / arguments.crop_s
            outside = (1 + BACKWARD) * surrounding_flops(config, frames) / arguments.crop_s
            products_s = (inside + outside) * arguments.batch_s / rate
            optimizer_s = parameters * OPTIMIZER_BYTES / speed
            table.add_row(
                size, frontend, f"{parameters / 1e6:.1f} M", f"{inside / 1e9:.2f}", f"{outside / 1e9:.2f}",
                f"{1e3 * products_s:.3g}", f"{1e3 * optimizer_s:.2g}",
                f"{arguments.batch_s / (products_s + optimizer_s):,.0f}",
            )  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
