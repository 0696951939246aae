"""Puts a training together: sampler, reader, learner, held-out evaluation and fairseq2's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import torch
from fairseq2.checkpoint import NOOP_HG_EXPORTER
from fairseq2.gang import Gangs
from fairseq2.optim.fp16_loss_scaler import NOOP_FP16_LOSS_SCALER
from fairseq2.optim.lr_schedulers import TriStageLR
from fairseq2.profilers import NOOP_PROFILER
from fairseq2.trainer import Trainer
from fairseq2.utils.device_stat import NOOP_DEVICE_STAT_TRACKER
from fairseq2.utils.gc import NOOP_GARBAGE_COLLECTOR
from fairseq2.utils.progress import NOOP_PROGRESS_REPORTER
from fairseq2.utils.stopwatch import Stopwatch
from fairseq2.validator import NOOP_VALIDATOR, Validator
from numpy.typing import NDArray
from torch import nn

from speechunits.audio.manifest import Recording
from speechunits.audio.sampler import Sampler, consecutive_batches
from speechunits.audio.store import WaveformStore
from speechunits.config import EngineConfig, OptimizerConfig
from speechunits.engine import seal
from speechunits.engine.best import Best
from speechunits.engine.checkpoint import SealedCheckpoints
from speechunits.engine.guard import FiniteGuard
from speechunits.engine.held_out import HeldOut, HeldOutStopper
from speechunits.engine.history import History
from speechunits.engine.journal import Journal
from speechunits.engine.machine import choose_precision
from speechunits.engine.reader import Loader, Reader
from speechunits.engine.steering import Steering
from speechunits.engine.train import TrainingTask
from speechunits.engine.unit import LearnerUnit
from speechunits.engine.work import Work
from speechunits.errors import UsageError
from speechunits.features.mel import LogMel
from speechunits.frames import HOP, RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.hardware import peak_flops
from speechunits.learners.learner import Learner
from speechunits.objectives.collapse import CollapseWatch

_START_SCALE = 0.01
"""Learning rate at the first step, as a share of the full one."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training is put together from."""

    gangs: Gangs
    journal: Journal
    sampler: Sampler
    reader: Reader
    history: History
    steering: Steering
    unit: LearnerUnit
    validator: Validator
    best: Best | None
    checkpoints: SealedCheckpoints
    total_steps: int
    resumed: int | None


def make_sampler(learner: Learner, task: TrainingTask, gangs: Gangs) -> Sampler:
    """Return the order of training; UsageError if there is nothing to train on."""
    tokens = None if task.labels is None else task.labels.tokens
    sampler = Sampler(
        _samples(task.train), task.batch, seed=task.seed, per_step=gangs.dp.size * task.engine.accumulate,
        crop=tokens is None, speeds=task.speed,
        least_samples=None if tokens is None else [_least_samples(tokens[item.id]) for item in task.train],
        groups=_groups(learner, task.train),
    )  # fmt: skip
    if not sampler.kept:
        raise UsageError(
            f"{task.label}: there is nothing to train on: {len(task.train)} recordings, {sampler.left_out} of them "
            f"shorter than {task.batch.min_s:g} s; check the manifest's train split and batch.min_s"
        )
    return sampler


def _groups(learner: Learner, recordings: Sequence[Recording]) -> list[str] | None:
    return [item.speaker or item.id for item in recordings] if learner.meets_speakers else None


def _samples(recordings: Sequence[Recording]) -> list[int]:
    return [round(item.duration_s * SAMPLE_RATE_HZ) for item in recordings]


def _least_samples(tokens: NDArray[np.integer]) -> int:
    """Return the samples whose frames just hold the tokens, a blank between equal neighbours included."""
    frames = len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
    return frames * HOP + RECEPTIVE_FIELD - HOP


def assemble(
    learner: Learner,
    model: nn.Module,
    task: TrainingTask,
    gangs: Gangs,
    journal: Journal,
    sampler: Sampler,
    resumed: int | None,
    stack: ExitStack,
) -> Parts:
    """Make the parts; ``stack`` closes those that must be closed."""
    engine, total_steps = task.engine, sampler.steps_for(task.budget.hours)
    history = History(
        task.folder, journal, label=task.label, total_steps=total_steps, done=resumed or 0, every_s=engine.progress_s,
        tensorboard=engine.tensorboard, silent=gangs.root.rank != 0, work=_work(learner, task, gangs, resumed or 0),
    )  # fmt: skip
    stack.callback(history.close)
    batch = task.batch
    store = None if batch.cache_dir is None else WaveformStore(batch.cache_dir, batch.cache_disk_mb)
    bins = _mel_bins_ahead(learner, task, gangs)
    loader = Loader(
        task.train, task.labels, batch.cache_mb, journal.refused, task.views, task.altered, store, bins,
        mel_always=batch.features_ahead == "all",
    )  # fmt: skip
    reader = Reader(
        sampler, loader, journal, rank=gangs.dp.rank, world=gangs.dp.size, accumulate=engine.accumulate, seed=task.seed
    )
    stack.callback(reader.close)
    steering = Steering(
        journal, gangs.root, total_steps=total_steps, minutes=task.budget.minutes, publish_s=engine.progress_s,
        checkpoint_s=60 * engine.checkpoint_minutes if engine.checkpoint_steps is None else None,
    )  # fmt: skip

    def before_step(step: int) -> None:
        history.step(step)
        steering.before_step(step)

    unit = LearnerUnit(
        model, learner, total_steps=total_steps, before_step=before_step,
        metric_names=[] if resumed is None else seal.known_metrics(task.folder, resumed),
    )  # fmt: skip
    checkpoints = SealedCheckpoints(
        task.folder, gangs, learner, journal, unit, total_steps=total_steps, lasting=task.lasting
    )
    best = Best(learner, journal, task.patience) if task.patience else None
    journal.memories = {
        name: memory for name, memory in (("best", best), ("learner", learner.memory)) if memory is not None
    }
    validator = _validator(learner, task, gangs, journal, history, total_steps, best, store, bins)
    return Parts(
        gangs=gangs, journal=journal, sampler=sampler, reader=reader, history=history, steering=steering, unit=unit,
        validator=validator, best=best, checkpoints=checkpoints, total_steps=total_steps, resumed=resumed,
    )  # fmt: skip


def _mel_bins_ahead(learner: Learner, task: TrainingTask, gangs: Gangs) -> int | None:
    """Return the bins of the log-mel that the reader computes for the learner; None where the learner does itself.

    On another device than the CPU it computes log-mel in less time than the transfer would take.
    """
    if task.batch.features_ahead == "none" or gangs.device.type != "cpu":
        return None
    return next((module.filters.shape[1] for module in learner.modules() if isinstance(module, LogMel)), None)


def _work(learner: Learner, task: TrainingTask, gangs: Gangs, done: int) -> Work:
    counts = bool(learner.training_flops(torch.tensor([SAMPLE_RATE_HZ])))
    wanted = counts and gangs.root.rank == 0
    measure = partial(peak_flops, gangs.device, choose_precision(task.engine, gangs.device).dtype)
    return Work(batches=task.engine.accumulate, measure=measure if wanted else None, done=done)


def _validator(
    learner: Learner,
    task: TrainingTask,
    gangs: Gangs,
    journal: Journal,
    history: History,
    total_steps: int,
    best: Best | None,
    store: WaveformStore | None,
    bins: int | None,
) -> Validator:
    crop = task.labels is None or task.labels.tokens is None
    groups = _groups(learner, task.held_out)
    batches = consecutive_batches(_samples(task.held_out), task.batch, crop=crop, groups=groups)
    if not batches and task.patience:
        raise UsageError(
            f"{task.label}: patience must be 0, but is {task.patience}: each of the {len(task.held_out)} held-out "
            f"recordings is shorter than batch.min_s, {task.batch.min_s:g} s"
        )
    if not batches or not task.engine.held_out_evaluations:
        return NOOP_VALIDATOR
    # Names of unreadable held-out recordings stay out of the count of those left out of training.
    views = None if task.altered else task.views
    always = task.batch.features_ahead == "all"
    loader = Loader(task.held_out, task.labels, task.batch.cache_mb, set(), views, 0.0, store, bins, mel_always=always)
    return HeldOut(
        learner, batches, loader, journal, gang=gangs.dp, precision=choose_precision(task.engine, gangs.device),
        seed=task.seed, watch=CollapseWatch(round(task.optimizer.warmup * total_steps), total_steps),
        publish=history.record_report, best=best,
    )  # fmt: skip


def evaluation_interval(engine: EngineConfig, total_steps: int) -> int | None:
    """Return the steps between held-out evaluations; None without any."""
    evaluations = engine.held_out_evaluations
    return max(1, ceil(total_steps / evaluations)) if evaluations else None


def make_trainer(learner: Learner, model: nn.Module, task: TrainingTask, parts: Parts, guard: FiniteGuard) -> Trainer:
    """Return fairseq2's Trainer over the parts."""
    gangs, engine, config = parts.gangs, task.engine, task.optimizer
    precision = choose_precision(engine, gangs.device)
    optimizer = torch.optim.AdamW(
        learner.parameter_groups(config.lr), lr=config.lr, betas=config.betas, eps=config.epsilon,
        weight_decay=config.weight_decay, fused=gangs.sdp.size == 1,
    )  # fmt: skip
    guard.take(optimizer)
    return Trainer(
        model=model,
        unit=parts.unit,
        data_reader=parts.reader,
        gangs=gangs,
        amp=precision.dtype != torch.float32,
        amp_dtype=precision.dtype,
        optimizer=optimizer,
        lr_scheduler=_schedule(optimizer, config, parts.total_steps),
        fp16_loss_scaler=NOOP_FP16_LOSS_SCALER,
        validator=parts.validator,
        early_stopper=HeldOutStopper(parts.journal),
        checkpoint_manager=parts.checkpoints,
        hg_exporter=NOOP_HG_EXPORTER,
        metric_recorder=parts.history,
        garbage_collector=NOOP_GARBAGE_COLLECTOR,
        profiler=NOOP_PROFILER,
        device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
        wall_watch=Stopwatch(),
        progress_reporter=NOOP_PROGRESS_REPORTER,
        seed=task.seed,
        no_sync_grad_accumulation=True,
        max_grad_norm=config.max_grad_norm or None,
        validate_every_n_steps=evaluation_interval(engine, parts.total_steps),
        checkpoint_every_n_steps=engine.checkpoint_steps,
        keep_last_n_checkpoints=2,
    )


def _schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig, total_steps: int) -> TriStageLR:
    decay = max(0.0, 1.0 - config.warmup - config.hold)
    return TriStageLR(
        optimizer, total_steps, (config.warmup, config.hold, decay), start_lr_scale=_START_SCALE,
        final_lr_scale=max(config.final_scale, 1e-8),
    )  # fmt: skip
