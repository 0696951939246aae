"""Two ranks of one thread each beside one; `python -m benchmarks.scaling`.

Three figures, in audio seconds a second: one rank; two ranks that train together (gloo); two processes that know
nothing of each other, which is all that the cores allow (two hardware threads of one core are not two cores).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path

import torch

from benchmarks.pretrain import MASK, noise
from benchmarks.timing import machine
from speechunits.config import EncoderConfig, MaskedPredictionConfig
from speechunits.learners.masked_prediction import MaskedPredictionLearner


def train(
    rank: int, ranks: int, together: str | None, size: str, batch_s: float, steps: int, times: Queue[float]
) -> None:
    """Train and hand over the median seconds of a step; ``together`` is the file at which ranks meet."""
    torch.set_num_threads(1)
    if together is not None:
        torch.distributed.init_process_group("gloo", init_method=f"file://{together}", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    encoder = EncoderConfig(**{**EncoderConfig.PRESETS[size], "size": size})
    learner = MaskedPredictionLearner(encoder, MASK, MaskedPredictionConfig()).train()
    model = learner if together is None else torch.nn.parallel.DistributedDataParallel(learner)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-5, fused=True)
    batch = noise(batch_s, 5.0, torch.device("cpu"))
    seconds = []
    for step in range(steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch._replace(seed=step * ranks + rank))
        (loss.sum / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    times.put(statistics.median(seconds[2:]))
    if together is not None:
        torch.distributed.destroy_process_group()


def speed(ranks: int, *, together: bool, size: str, batch_s: float, steps: int) -> float:
    """Return the audio seconds a second of ``ranks`` processes."""
    context = multiprocessing.get_context("spawn")
    times: Queue[float] = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"{folder}/ranks" if together else None
        processes = [
            context.Process(target=train, args=(rank, ranks, meeting, size, batch_s, steps, times))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        found = [times.get() for _ in processes]
        for process in processes:
            process.join()
    return sum(batch_s / seconds for seconds in found)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(EncoderConfig.PRESETS), default="small")
    parser.add_argument("--batch-s", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/scaling.json"))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    kinds = {"one rank": (1, False), "two ranks": (2, True), "two processes apart": (2, False)}
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.rounds):
        for name, (ranks, together) in kinds.items():
            speeds[name].append(
                speed(ranks, together=together, size=arguments.size, batch_s=arguments.batch_s, steps=arguments.steps)
            )
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {name: value / medians["one rank"] for name, value in medians.items()}
    for name, value in medians.items():
        print(f"{name:20s} {value:8.1f} x real time  {ratios[name]:.2f}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"size": arguments.size, "machine": machine(torch.device("cpu")), "speeds": speeds, "ratios": ratios}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
