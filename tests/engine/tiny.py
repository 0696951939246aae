"""A tiny learner and a tiny corpus: what the engine's tests train."""

import math

import numpy as np
import soundfile
import torch
from torch import nn

from speechunits.audio.manifest import Recording
from speechunits.audio.sampler import Sampler
from speechunits.config import BatchConfig, BudgetConfig, EngineConfig, OptimizerConfig
from speechunits.engine.train import train
from speechunits.frames import frame_counts, frames_mask
from speechunits.learners.learner import Learner
from speechunits.objectives.loss import Loss

SAMPLE_RATE_HZ = 16_000


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, dim)

    def forward(self, frames):
        return frames + torch.tanh(self.linear(self.norm(frames)))


class TinyLearner(Learner):
    """Predicts the level of masked frames; dropout and masks exercise both kinds of randomness."""

    def __init__(self, seed=0, dim=8, dropout=0.1):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv1d(1, dim, 400, 320)
        self.blocks = nn.ModuleList(Block(dim) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(dim, 1)
        nn.init.ones_(self.head.bias)  # levels are around 0.1: there is something to learn
        self.fault = None
        self.batches = []
        self.collapsed = False

    def forward(self, batch):
        if self.training:
            self.batches.append(batch)
        lengths = frame_counts(batch.lengths)
        frames = self.conv(batch.waveforms[:, None]).transpose(1, 2)
        level = batch.waveforms.unfold(1, 400, 320).abs().mean(-1)
        generator = torch.Generator().manual_seed(batch.seed)
        masked = (torch.rand(frames.shape[:2], generator=generator) < 0.5).to(frames.device)
        hidden = self.drop(frames * ~masked[..., None])
        for block in self.blocks:
            hidden = block(hidden)
        chosen = masked & frames_mask(lengths, frames.shape[1])
        errors = (self.head(hidden).squeeze(-1).float() - level).square() * chosen
        if self.training and self.fault is not None:
            errors = errors * self.fault(batch)
        count = chosen.sum()
        histogram = torch.bincount((level[chosen] > 0.1).long(), minlength=2)[None]
        return Loss(errors.sum(), count, {"loss": (errors.sum().detach(), count)}, {"levels": histogram})

    def report(self, metrics, histograms):
        shares = histograms["levels"][0].double() / histograms["levels"].sum()
        perplexity = torch.exp(-(shares * shares.clamp_min(1e-9).log()).sum())
        return {
            "loss_bits": metrics["loss"] / math.log(2), "chance_bits": 1.0, "bits": 0.5,
            "perplexity": float(perplexity), "frames": float(histograms["levels"].sum()),
        }  # fmt: skip

    def collapse(self, report):
        return {"perplexity": "perplexity 1.00"} if self.collapsed else {}

    def export(self):
        return dict(self.state_dict()), {"kind": "encoder", "encoder": {"size": "tiny"}}


def make_corpus(folder, count=10, *, seconds=(0.6, 2.4), seed=0, prefix="r"):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    recordings = []
    for index in range(count):
        samples = int(rng.uniform(*seconds) * SAMPLE_RATE_HZ)
        path = folder / f"{prefix}{index}.wav"
        waveform = rng.normal(size=samples) * rng.uniform(0.02, 0.3)
        soundfile.write(path, waveform, SAMPLE_RATE_HZ, subtype="PCM_16")
        recordings.append(Recording(id=f"{prefix}{index}", audio=path, duration_s=samples / SAMPLE_RATE_HZ))
    return recordings


def settings(corpus, *, steps=12, engine=None, batch=None, minutes=None, per_step=None, **changes):
    """Arguments of ``train`` for exactly ``steps`` steps of ``per_step`` batches of about 4 s."""
    config = BatchConfig(**{"batch_s": 4.0, "crop_s": 2.0, "min_s": 0.3, **(batch or {})})
    speeds, labels = changes.get("speed", (1.0,)), changes.get("labels")
    engine = {"precision": "fp32", "tensorboard": False, "progress_s": 0.0, "held_out_evaluations": 2,
              "checkpoint_steps": 4, **(engine or {})}  # fmt: skip
    sampler = Sampler(
        [round(item.duration_s * SAMPLE_RATE_HZ) for item in corpus], config, seed=changes.get("seed", 3),
        per_step=per_step or engine.get("accumulate", 1), crop=labels is None or labels.tokens is None, speeds=speeds,
    )  # fmt: skip
    seen_s, epoch, position = 0.0, 0, 0
    for _ in range(steps if sampler.kept else 0):
        if position == sampler.steps(epoch):
            epoch, position = epoch + 1, 0
        seen_s += sum(piece.source_s for part in sampler.step(epoch, position) for piece in part)
        position += 1
    return {
        "labels": None,
        "batch": config,
        "optimizer": OptimizerConfig(lr=1e-2),
        "budget": BudgetConfig(hours=max(seen_s - 0.1, 0.1) / 3600, minutes=minutes),
        "engine": EngineConfig(**engine),
        "seed": 3,
        **changes,
    }


def run(learner, folder, corpus, held_out=(), **changes):
    return train(learner, folder=folder, train=corpus, held_out=held_out, **settings(corpus, **changes))


def weights(learner):
    return {name: value.detach().clone() for name, value in learner.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
