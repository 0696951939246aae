"""How long a recipe will take on the machine at hand, before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.optim import AdamW

from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import Tokenizer
from speechunits.audio.batch import AudioBatch
from speechunits.cell import cells, further, trials
from speechunits.compute import equal_hours
from speechunits.config import FIELDS, FinetuneConfig, RecipeConfig
from speechunits.encoder.encoder import Encoder
from speechunits.engine.surroundings import machine_state
from speechunits.evaluation.score import Side
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.hardware import cores, cpu_computes_bf16
from speechunits.learners.build import build_learner
from speechunits.learners.learner import Learner

_ROW_S = 4
_TOKENS = 40
"""Of a row: what is spoken in four seconds."""
_STEPS = 3
_OVERHEAD = 1.3
"""Held-out evaluations, decoding, units and pseudo-text, as a factor on training."""


def estimated_minutes(recipe: RecipeConfig) -> float:
    """Return the minutes that pretraining and the sweep of a recipe are likely to take here.

    A few steps of each kind of training are timed, on noise; trainings that run beside each other share the cores.
    """
    reduction = recipe.reduction
    # Which baseline the further seeds train is known only when the others are: here the one that is small.
    todo = [cell for cell in cells(reduction) if not (further(cell, reduction) and cell.side == "untrained")]
    todo += trials(reduction)
    more = equal_hours(recipe.pretrain, recipe.pretrain.encoder, recipe.pretrain.budget.hours)
    jobs = 1 if torch.cuda.is_available() else min(reduction.jobs, len(todo))
    with machine_state(recipe.pretrain.engine.threads):
        minutes = _minutes(recipe.pretrain.budget.hours, recipe.pretrain.budget.minutes, training_speed(recipe))
    for side in dict.fromkeys(cell.side for cell in todo):
        own: FinetuneConfig = getattr(reduction, FIELDS[side])
        with machine_state(own.engine.threads or max(1, cores() // jobs)):
            speed = training_speed(recipe, side)
        for cell in [cell for cell in todo if cell.side == side]:
            hours = own.budget.hours + (more[side] if cell.compute else 0.0)
            if cell.trial is not None:
                # One of the trials is a cell of the sweep as well, unless they last otherwise.
                hours = (hours if cell.trial else 0.0) if reduction.tuning.hours is None else reduction.tuning.hours
            # Every round of self-training costs the budget again.
            rounds = 1 + own.self_training.rounds
            minutes += rounds * _minutes(hours, own.budget.minutes, speed) / jobs
    return _OVERHEAD * minutes


def _minutes(hours: float, most: float | None, speed: float) -> float:
    found = 60 * hours / speed
    return found if most is None else min(found, most)


def training_speed(recipe: RecipeConfig, side: Side | None = None) -> float:
    """Return seconds of audio trained on a second, by pretraining or by a ``side`` of the sweep."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Weights, noise and dropout are drawn from the global generator, which is put back.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner, batch = _pretraining(recipe) if side is None else _finetuning(recipe, side)
        learner, batch = learner.to(device), batch.to(device)
        step = _step(learner, batch, device)
        # Of a frozen encoder's share of the steps and of the others each their own time.
        frozen = recipe.reduction.finetune.frozen if side == "pretrained" else 0.0
        return batch.audio_s / sum(
            share * _seconds(learner, step, at) for share, at in ((frozen, 0), (1 - frozen, 1)) if share
        )


def _seconds(learner: Learner, step: Callable[[], None], at: int) -> float:
    learner.set_progress(at, 1)
    step()  # the first one chooses kernels
    started = time.perf_counter()
    for _ in range(_STEPS):
        step()
    return (time.perf_counter() - started) / _STEPS


def _step(learner: Learner, batch: AudioBatch, device: torch.device) -> Callable[[], None]:
    bf16 = device.type == "cuda" or cpu_computes_bf16()
    optimizer = AdamW(learner.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = learner(batch)
        (loss.sum / loss.count.clamp(min=1)).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _pretraining(recipe: RecipeConfig) -> tuple[Learner, AudioBatch]:
    batch = _noise(recipe.pretrain.batch.batch_s)
    units = torch.zeros(len(batch.ids), frame_count(batch.waveforms.shape[1]), dtype=torch.int64)
    batch = batch._replace(units=units, speakers=batch.ids)
    if recipe.pretrain.needs_views:
        matches = torch.arange(units.shape[1]).expand_as(units)
        batch = batch._replace(second=batch.waveforms, second_lengths=batch.lengths, matches=matches)
    return build_learner(recipe.pretrain), batch


def _finetuning(recipe: RecipeConfig, side: Side) -> tuple[Learner, AudioBatch]:
    # What reads units is the network of the side ``logmel`` behind a frozen inventory.
    side = "logmel" if side == "units" else side
    config = getattr(recipe.reduction, FIELDS[side])
    encoder = Encoder(recipe.pretrain.encoder) if side == "pretrained" else None
    batch = _noise(config.batch.batch_s)
    tokens = torch.randint(1, 30, (len(batch.ids), _TOKENS))
    counts = torch.full((len(batch.ids),), _TOKENS)
    learner = build_recognizer(config, Tokenizer(["", *map(chr, range(ord("A"), ord("A") + 29))]), encoder)
    return learner, batch._replace(tokens=tokens, token_lengths=counts)


def _noise(batch_s: float) -> AudioBatch:
    rows = max(1, round(batch_s / _ROW_S))
    waveforms = torch.randn(rows, _ROW_S * SAMPLE_RATE_HZ)
    return AudioBatch(waveforms, torch.full((rows,), waveforms.shape[1]), ("noise",) * rows, 0)
