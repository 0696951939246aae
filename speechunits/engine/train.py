"""The one way to train: pretraining and fine-tuning alike go through :func:`train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.config import BatchConfig, BudgetConfig, EngineConfig, OptimizerConfig, ViewsConfig
from speechunits.errors import UsageError
from speechunits.learners.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What supervises a training, by recording id; of the two, one is given."""

    units: Mapping[str, NDArray[np.integer]] | None = None
    """``(S,)`` unit of every frame of a recording; crops take their slice."""
    tokens: Mapping[str, NDArray[np.integer]] | None = None
    """``(L,)`` CTC targets; recordings stay whole."""

    def __post_init__(self) -> None:
        if (self.units is None) == (self.tokens is None):
            raise ValueError("labels must be either units or tokens")


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """Everything :func:`train` was called with."""

    folder: Path
    train: Sequence[Recording]
    held_out: Sequence[Recording]
    labels: Labels | None
    batch: BatchConfig
    optimizer: OptimizerConfig
    budget: BudgetConfig
    engine: EngineConfig
    seed: int
    label: str
    speed: tuple[float, ...]
    lasting: bool
    views: ViewsConfig | None = None
    altered: float = 0.0
    patience: int = 0
    origin: str | None = None
    """Hash of what the learner was made from, where its export does not say it; None where weights were drawn."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training did."""

    steps: int
    total_steps: int
    """Steps that reach the budget's hours."""
    audio_hours: float
    """Source audio seen, over all ranks and passes."""
    wall_s: float
    """Wall clock, earlier parts of a resumed training included."""
    held_out: dict[str, float] = field(default_factory=dict)
    """The learner's report on the held-out recordings at the end; empty without any."""
    history: Path
    """``metrics.jsonl``: a line for each publication and each held-out evaluation."""
    stopped: str | None = None
    """Why training ended before its hours (``minutes budget``), or None."""
    resumed_from: int | None = None
    """Step of the checkpoint this call started from."""
    refused: int = 0
    """Recordings that could not be read, or of which a piece could not, each named when it was met."""
    left_out: int = 0
    """Recordings shorter than ``min_s``."""
    skipped_batches: int = 0
    """Steps without an update, since loss or gradient was not finite."""


def train(
    learner: Learner,
    *,
    folder: Path,
    train: Sequence[Recording],
    held_out: Sequence[Recording],
    labels: Labels | None,
    batch: BatchConfig,
    optimizer: OptimizerConfig,
    budget: BudgetConfig,
    engine: EngineConfig,
    seed: int,
    label: str = "pretrain",
    speed: tuple[float, ...] = (1.0,),
    lasting: bool = True,
    views: ViewsConfig | None = None,
    altered: float = 0.0,
    patience: int = 0,
    origin: str | None = None,
) -> TrainingResult:
    """Train ``learner`` in place, resuming from ``folder`` where it holds checkpoints of the same training.

    Leaves ``metrics.jsonl``, ``encoder.safetensors`` and ``checkpoints/`` in ``folder``. A training that is not
    ``lasting`` has checkpoints for the case of an interruption only: who has kept the weights that are in memory at its
    end calls :func:`speechunits.engine.seal.forget_checkpoints`.

    ``views`` makes every batch two views of its audio; with ``altered``, it is that share of the training rows, altered
    in place, and frames keep their units. With ``patience``, training ends after so many held-out evaluations without a
    lower ``cer``, and the weights of the best stay. A folder that began with another ``origin`` is not resumed.
    Torch's threads, random state and signal handlers are as before when it returns. All ranks call it alike.

    Raises
    ------
    UsageError
        If there is nothing to train on, or the folder holds a training with other settings.
    TrainingStopped
        If training cannot go on: losses not finite, a full disk, collapse (``Collapsed``). The last checkpoint is kept.
    Interrupted
        After SIGINT or SIGTERM: the step was finished and a checkpoint saved.
    """
    task = TrainingTask(
        folder=folder, train=train, held_out=held_out, labels=labels, batch=batch, optimizer=optimizer, budget=budget,
        engine=engine, seed=seed, label=label, speed=speed, lasting=lasting, views=views,
        altered=altered, patience=patience, origin=origin,
    )  # fmt: skip
    _check(task)
    # fairseq2 costs seconds to import and wants stand-ins first: only who trains pays for it.
    from speechunits.engine.native import prepare_fairseq2  # noqa: PLC0415

    prepare_fairseq2()
    from speechunits.engine.session import run_training  # noqa: PLC0415

    return run_training(learner, task)


def _check(task: TrainingTask) -> None:
    """Raise UsageError where parts of a task contradict each other."""
    label, labels = task.label, task.labels
    known: Mapping[str, object] | None = None if labels is None else labels.units or labels.tokens or {}
    missing = [] if known is None else [item.id for item in (*task.train, *task.held_out) if item.id not in known]
    if missing:
        raise UsageError(
            f"{label}: {len(missing)} recordings have no label, the first is {missing[0]!r}; leave them out"
        )
    if task.speed != (1.0,) and (labels is None or labels.tokens is None):
        raise UsageError(
            f"{label}: speed must be (1.0,) without token labels, but is {task.speed}; units belong to frames"
        )
    if task.patience and not (task.held_out and task.engine.held_out_evaluations):
        none = "nothing held out" if not task.held_out else "no evaluation (engine.held_out_evaluations: 0)"
        raise UsageError(f"{label}: patience must be 0 with {none}, but is {task.patience} instead")
    if task.patience and task.lasting:
        raise UsageError(
            f"{label}: patience must be 0 where the last checkpoint is what lasts, but is {task.patience} instead"
        )
