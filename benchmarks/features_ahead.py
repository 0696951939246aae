"""Training steps with log-mel computed inside the model, or ahead of it; `python -m benchmarks.features_ahead`.

Masked prediction on log-mel by turns in one process, batches from the engine's own reader over recordings of noise:
"inside" computes it in every step, "ahead" in the reader's threads for every crop, "kept" takes slices of what the
reader has in memory, "mapped" of what is on disk (audio too, as `cache_dir` has it). Wall clock of a step includes
waiting for the reader; processor time all threads.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import machine
from speechunits.audio.manifest import Recording
from speechunits.audio.sampler import Sampler
from speechunits.audio.store import WaveformStore
from speechunits.config import BatchConfig, EncoderConfig, MaskConfig, MaskedPredictionConfig
from speechunits.engine.native import prepare_fairseq2
from speechunits.engine.train import Labels
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.hardware import keep_memory_and_kernels
from speechunits.learners.learner import Learner
from speechunits.learners.masked_prediction import MaskedPredictionLearner

prepare_fairseq2()

from speechunits.engine.journal import Journal  # noqa: E402 - only after the stand-ins
from speechunits.engine.reader import Loader, Reader  # noqa: E402

CLUSTERS = 100
WAYS = {"inside": (None, 1), "ahead": (80, 1), "kept": (80, 2), "mapped": (80, None)}
"""Bins that the reader computes, and what memory has room for: 1 the audio alone, 2 log-mel as well, None neither."""
WARMUP = 20
"""Steps untimed: two epochs."""


@dataclass
class Way:
    """A learner with a reader of its own, and the seconds of its steps."""

    name: str
    learner: Learner
    reader: Reader
    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.learner.parameters(), lr=1e-5, fused=True)

    def step(self) -> None:
        """Train one step, timed."""
        started, processor = time.perf_counter(), time.process_time()
        (batch,) = next(self.reader)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.learner(batch.audio)
        (loss.sum / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.wall_s.append(time.perf_counter() - started)
        self.processor_s.append(time.process_time() - processor)


def recordings(folder: Path, count: int, seconds: float) -> tuple[list[Recording], Labels]:
    """Write recordings of noise, with units drawn for their frames."""
    rng = np.random.default_rng(0)
    found, units = [], {}
    for number in range(count):
        samples = round(seconds * SAMPLE_RATE_HZ)
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(samples), SAMPLE_RATE_HZ)
        found.append(Recording(id=path.stem, audio=path, duration_s=seconds))
        units[path.stem] = rng.integers(0, CLUSTERS, frame_count(samples))
    return found, Labels(units=units)


def ways(size: str, found: Sequence[Recording], labels: Labels, batch_s: float, cache: Path) -> list[Way]:
    """Return the contenders: the same weights and the same batches."""
    torch.manual_seed(0)
    encoder = EncoderConfig(**{**EncoderConfig.PRESETS[size], "size": size, "frontend": "logmel"})
    settings = MaskedPredictionConfig(unmasked_weight=1.0)
    learner = MaskedPredictionLearner(encoder, MaskConfig(), settings, CLUSTERS).train()
    config = BatchConfig(batch_s=batch_s, crop_s=5.0)
    samples = [round(item.duration_s * SAMPLE_RATE_HZ) for item in found]
    made = []
    for name, (bins, room) in WAYS.items():
        store = WaveformStore(cache, 1000) if room is None else None
        memory_mb = (room or 0) * 2e-6 * sum(samples)
        loader = Loader(found, labels, memory_mb, set(), store=store, mel_bins=bins, mel_always=True)
        reader = Reader(Sampler(samples, config, seed=0), loader, Journal(), rank=0, world=1, accumulate=1, seed=0)
        made.append(Way(name, copy.deepcopy(learner), reader))
    return made


def measure(contenders: Sequence[Way], rounds: int) -> dict[str, dict[str, float]]:
    """Let them take turns; return medians, and medians of the ratios to the first within a round."""
    for turn in range(WARMUP + rounds):
        for way in contenders[:: 1 if turn % 2 else -1]:
            way.step()
    row = {}
    for way in contenders:
        figures = {}
        for kind in ("wall_s", "processor_s"):
            mine, first = (getattr(one, kind)[WARMUP:] for one in (way, contenders[0]))
            figures[kind] = statistics.median(mine)
            figures[f"{kind[:-2]}_ratio"] = statistics.median(a / b for a, b in zip(mine, first, strict=True))
        row[way.name] = figures
    return row


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["nano", "small"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch-s", type=float, default=20.0)
    parser.add_argument("--recording-s", type=float, default=3.2)
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/features_ahead.json"))
    arguments = parser.parse_args()
    keep_memory_and_kernels()
    table = Table("size", "threads", "log-mel", "step ms", "cpu ms", "time / inside", "cpu time / inside")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        found, labels = recordings(Path(folder), arguments.recordings, arguments.recording_s)
        for size in arguments.sizes:
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                contenders = ways(size, found, labels, arguments.batch_s, Path(folder) / "cache")
                row = measure(contenders, arguments.rounds)
                for way in contenders:
                    way.reader.close()
                    figures = row[way.name]
                    table.add_row(
                        size, str(threads), way.name, f"{1e3 * figures['wall_s']:.1f}",
                        f"{1e3 * figures['processor_s']:.1f}", f"{figures['wall_ratio']:.3f}",
                        f"{figures['processor_ratio']:.3f}",
                    )  # fmt: skip
                results.append({"size": size, "threads": threads, "ways": row})
    Console(width=120).print(table)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(torch.device("cpu")), "rounds": arguments.rounds, "results": results}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
