"""How long a recipe will take on the machine at hand, before it begins."""

from __future__ import annotations

import time

import torch

from speechunits.audio.batch import AudioBatch
from speechunits.cell import cells, trials
from speechunits.config import RecipeConfig
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.hardware import cpu_computes_bf16
from speechunits.learners.build import build_learner

_ROW_S = 4
_STEPS = 3
_OVERHEAD = 1.3
"""Held-out evaluations, decoding, units and pseudo-text, as a factor on training (measured on the demo)."""


def training_speed(recipe: RecipeConfig) -> float:
    """Return seconds of audio trained on a second: a few steps of the recipe's own learner on noise."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = device.type == "cuda" or cpu_computes_bf16()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = build_learner(recipe.pretrain).to(device)
        rows = max(1, round(recipe.pretrain.batch.batch_s / _ROW_S))
        waveforms = torch.randn(rows, _ROW_S * SAMPLE_RATE_HZ, device=device)
    lengths = torch.full((rows,), waveforms.shape[1], device=device)
    units = torch.zeros(rows, frame_count(waveforms.shape[1]), dtype=torch.int64, device=device)
    names = ("noise",) * rows
    batch = AudioBatch(waveforms, lengths, names, 0, units=units, speakers=names)
    if recipe.pretrain.needs_views:
        matches = torch.arange(units.shape[1], device=device).expand_as(units)
        batch = batch._replace(second=waveforms, second_lengths=lengths, matches=matches)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = learner(batch)
        (loss.sum / loss.count.clamp(min=1)).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()  # the first one chooses kernels
    started = time.perf_counter()
    for _ in range(_STEPS):
        step()
    return _STEPS * rows * _ROW_S / (time.perf_counter() - started)


def estimated_minutes(recipe: RecipeConfig) -> float:
    """Return the minutes that pretraining and the sweep of a recipe are likely to take here."""
    reduction = recipe.reduction
    budgets = {"pretrained": reduction.finetune, "untrained": reduction.untrained, "logmel": reduction.logmel}
    # One of the trials is a cell of the sweep as well.
    todo = [*cells(reduction), *(cell for cell in trials(reduction) if cell.trial)]
    hours = recipe.pretrain.budget.hours + sum(budgets[cell.side].budget.hours for cell in todo)
    return _OVERHEAD * hours * 60 / training_speed(recipe)
