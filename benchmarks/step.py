"""A training step of two versions of this project by turns; `python -m benchmarks.step --before FOLDER`.

FOLDER holds another version (`git worktree add FOLDER COMMIT`). Both train masked prediction of a size (a front end may
be named too: ``nano:waveform``) or the small log-mel recogniser (``logmel``) on noise, in batches that their own
samplers make of recordings as long as a manifest says: padding, kernels made for new shapes and page faults count as
they do in training. Figures are processor time a second of audio, since machines are shared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Labels = Callable[[int], dict[str, Any]]
"""Gives so many frames their targets."""


class Version:
    """One version's modules, kept apart from the other's of the same names."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._modules: dict[str, ModuleType] = {}
        self._folder = str(folder)
        self.seconds = 0.0
        self.audio_s = 0.0

    def load(self, name: str) -> Any:
        """Return a module of this version."""
        sys.modules.update(self._modules)
        sys.path.insert(0, self._folder)
        try:
            return importlib.import_module(f"speechunits.{name}")
        finally:
            sys.path.remove(self._folder)
            mine = [key for key in sys.modules if key.partition(".")[0] == "speechunits"]
            self._modules |= {key: sys.modules.pop(key) for key in mine}

    def prepare(self, what: str, samples: list[int], batch_s: float, count: int) -> None:
        """Make model, optimiser and the first batches of an epoch."""
        audio, sampler, frames = self.load("audio.batch"), self.load("audio.sampler"), self.load("frames")
        config = self.load("config")
        torch.manual_seed(0)
        self.model, labels = self._recognizer() if what == "logmel" else self._pretraining(what)
        self.model.train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        planned = sampler.Sampler(samples, config.BatchConfig(batch_s=batch_s), seed=0).epoch(0)[:count]
        self.batches = []
        for pieces in planned:
            rows = []
            for piece in pieces:
                noise = 0.1 * torch.randn(piece.samples)
                targets = labels(frames.frame_count(piece.samples))
                rows.append(audio.Row(id="noise", waveform=noise.numpy(), **targets))
            self.batches.append(audio.collate(rows, seed=0))

    def _pretraining(self, what: str) -> tuple[Any, Labels]:
        config, learners = self.load("config"), self.load("learners.masked_prediction")
        size, _, frontend = what.partition(":")
        options = {**config.EncoderConfig.PRESETS[size], "size": size, **({"frontend": frontend} if frontend else {})}
        settings = config.MaskedPredictionConfig(unmasked_weight=1.0)
        model = learners.MaskedPredictionLearner(config.EncoderConfig(**options), config.MaskConfig(), settings)
        return model, lambda frames: {"units": torch.randint(0, settings.clusters, (frames,)).numpy()}

    def _recognizer(self) -> tuple[Any, Labels]:
        config, tokens = self.load("config"), self.load("asr.tokens")
        tokenizer = tokens.build_tokenizer([LETTERS])
        model = self.load("asr.recognizer").build_recognizer(config.FinetuneConfig(side="logmel"), tokenizer)
        return model, lambda frames: {"tokens": torch.randint(1, len(tokenizer), (frames // 5,)).numpy()}

    def step(self, place: int, turn: int, *, timed: bool) -> None:
        """Train one step."""
        batch = self.batches[place]
        started = time.process_time()
        torch.manual_seed(turn)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model(batch._replace(seed=turn))
        (loss.sum / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if timed:
            self.seconds += time.process_time() - started
            self.audio_s += batch.audio_s


def compare(versions: list[Version], places: int, rounds: int) -> dict[str, float]:
    """Return milliseconds of processor a second of audio, the first round left out."""
    for version in versions:
        version.seconds = version.audio_s = 0.0
    for turn in range(rounds + 1):
        for place in range(places):
            for version in versions:
                version.step(place, turn * places + place, timed=turn > 0)
    return {version.name: 1e3 * version.seconds / version.audio_s for version in versions}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="folder of the other version")
    parser.add_argument("--manifest", type=Path, help="whose durations the recordings have (default: 3 s each)")
    parser.add_argument("--sizes", nargs="+", default=["nano", "small"], help="also nano:waveform, logmel")
    parser.add_argument("--batch-s", type=float, default=20.0)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/step.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    versions = [Version("before", arguments.before), Version("after", ROOT)]
    samples = [48_000] * 100
    if arguments.manifest is not None:
        recordings = versions[1].load("audio.manifest").read_manifest(arguments.manifest)
        samples = [round(item.duration_s * 16_000) for item in recordings]
    prepared: dict[str, dict[str, float]] = {}
    for size in arguments.sizes:
        for version in versions:
            version.prepare(size, samples, arguments.batch_s, arguments.batches)
        prepared[size] = compare(versions, arguments.batches, arguments.rounds)
    # The allocator's settings are those of the process: last, and for both.
    versions[1].load("hardware").keep_memory_and_kernels()
    for size, row in prepared.items():
        for version in versions:
            version.prepare(size, samples, arguments.batch_s, arguments.batches)
        row["ratio"] = row["before"] / row["after"]
        kept = compare(versions, arguments.batches, arguments.rounds)
        row |= {f"{name}, memory kept": value for name, value in kept.items()}
        row["ratio, memory kept"] = kept["before"] / kept["after"]
        print(size, ", ".join(f"{name} {value:.2f}" for name, value in row.items()), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(prepared, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
