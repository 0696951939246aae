"""Timing by turns: every contender trains one step a round, so that what slows the machine slows them all."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from speechunits.hardware import cpu_computes_bf16, peak_flops

PACKAGES = ("torch", "fairseq2", "transformers", "numpy", "scikit-learn", "faiss-cpu", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Setting:
    """How a step is computed."""

    precision: str
    threads: int


@dataclass
class Contender:
    """A model; ``loss`` returns its mean loss of the batch; ``prepare`` runs before each step, untimed."""

    name: str
    model: nn.Module
    loss: Callable[[], Tensor]
    prepare: Callable[[], None] = lambda: None
    setting: Setting | None = None
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)


def step(contender: Contender, setting: Setting, device: torch.device) -> tuple[float, float]:
    """Train one step; return its seconds of wall clock and of processor."""
    contender.prepare()
    if device.type == "cpu":
        torch.set_num_threads(setting.threads)
    else:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started, processor = time.perf_counter(), time.process_time()
    contender.optimizer.zero_grad()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=setting.precision == "bf16"):
        loss = contender.loss()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(contender.model.parameters(), 5.0)
    contender.optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        contender.peak_mb = max(contender.peak_mb, torch.cuda.max_memory_allocated(device) / 1e6)
    return time.perf_counter() - started, time.process_time() - processor


def race(contenders: Sequence[Contender], settings: Sequence[Setting], device: torch.device, rounds: int) -> None:
    """Give each contender the setting in which it is fastest, then let them take turns."""
    for contender in contenders:
        trials = {}
        for setting in settings:
            step(contender, setting, device)  # the first one chooses kernels
            trials[setting] = min(step(contender, setting, device)[0] for _ in range(2))
        contender.setting = min(trials, key=lambda setting: trials[setting])
    for turn in range(rounds):
        for contender in contenders[:: 1 if turn % 2 else -1]:
            assert contender.setting is not None
            wall_s, processor_s = step(contender, contender.setting, device)
            contender.seconds.append(wall_s)
            contender.processor_s.append(processor_s)


def settings_for(device: torch.device, *, threads: Sequence[int]) -> list[Setting]:
    """Return what each contender may choose from."""
    counts = threads if device.type == "cpu" else [1]
    return [Setting(precision, count) for precision in ("bf16", "fp32") for count in counts]


def machine(device: torch.device) -> dict[str, object]:
    """Return what a figure depends on besides the code."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpu = Path("/proc/cpuinfo")
        lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return {"device": name, "cores": os.cpu_count(), "python": platform.python_version(), "versions": versions}


def rows_of(
    contenders: Sequence[Contender], audio_s: float, flops: float, device: torch.device
) -> list[dict[str, object]]:
    """Return a row for each contender; ratios are medians of a peer over those of the first.

    ``flops`` are those of the transformer, which is the same for all, in a step over ``audio_s`` seconds.
    """
    base = contenders[0]
    base_s, base_processor_s = (statistics.median(values) for values in (base.seconds, base.processor_s))
    peaks = _peaks(contenders, flops, device)
    rows: list[dict[str, object]] = []
    for contender in contenders:
        assert contender.setting is not None
        wall_s, processor_s = statistics.median(contender.seconds), statistics.median(contender.processor_s)
        rows.append({
            "name": contender.name,
            **asdict(contender.setting),
            "parameters": sum(p.numel() for p in contender.model.parameters()),
            "step_s": wall_s,
            "processor_s": processor_s,
            "audio_s_per_s": audio_s / wall_s,
            "mfu": flops / wall_s / peaks[contender.setting.threads],
            "ratio": wall_s / base_s,
            "processor_ratio": processor_s / base_processor_s,
            "peak_mb": round(contender.peak_mb),
        })  # fmt: skip
    return rows


def _peaks(contenders: Sequence[Contender], flops: float, device: torch.device) -> dict[int, float]:
    """Return the most FLOP/s that products, or any step, were seen to do, by number of threads."""
    dtype = torch.bfloat16 if device.type == "cuda" or cpu_computes_bf16() else torch.float32
    peaks: dict[int, float] = {}
    for contender in contenders:
        assert contender.setting is not None
        threads = contender.setting.threads
        if device.type == "cpu":
            torch.set_num_threads(threads)
        peaks[threads] = max(peaks.get(threads, 0.0), peak_flops(device, dtype), flops / min(contender.seconds))
    return peaks


def publish(title: str, results: Sequence[dict[str, object]], path: Path, device: torch.device) -> None:
    """Print a table for each result and write them all to one JSON file."""
    console = Console(width=130)
    for result in results:
        heading = f"{title}: {result['size']}, {result['batch']}; same thing timed: {result['equality']}"
        table = Table("", "precision", "threads", "parameters", "step ms", "cpu ms", "x real time", "MFU",
                      "time / ours", "cpu time / ours", title=heading)  # fmt: skip
        for row in result["rows"]:  # type: ignore[attr-defined]
            table.add_row(
                row["name"], row["precision"], str(row["threads"]), f"{row['parameters'] / 1e6:.1f} M",
                f"{1e3 * row['step_s']:.0f}", f"{1e3 * row['processor_s']:.0f}", f"{row['audio_s_per_s']:.0f}",
                f"{row['mfu']:.0%}", f"{row['ratio']:.2f}", f"{row['processor_ratio']:.2f}",
            )  # fmt: skip
        console.print(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"benchmark": title, "machine": machine(device), "results": list(results)}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(f"written: {path}")
