"""Held-out evaluation: sums over all batches and ranks first, then the learner's report; watches for collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from fairseq2.early_stopper import EarlyStopper
from fairseq2.gang import Gang, ReduceOperation
from fairseq2.validator import Validator
from torch import Tensor

from speechunits.audio.sampler import Batch
from speechunits.engine.best import Best
from speechunits.engine.journal import Journal
from speechunits.engine.machine import Precision
from speechunits.engine.reader import Loader, derived_seed
from speechunits.errors import TrainingStopped
from speechunits.learners.learner import Learner
from speechunits.objectives.collapse import CollapseWatch

_EVALUATION = 2**31
"""Apart from the numbers of training batches: held-out masks and negatives are the same in every evaluation."""


class HeldOut(Validator):
    """Evaluates on held-out recordings and keeps the report in the journal.

    ``watch`` counts evaluations that show a collapse; ``publish`` and ``best`` receive every report.
    """

    def __init__(
        self,
        learner: Learner,
        batches: Sequence[Batch],
        loader: Loader,
        journal: Journal,
        *,
        gang: Gang,
        precision: Precision,
        seed: int,
        watch: CollapseWatch,
        publish: Callable[[int, dict[str, float]], None],
        best: Best | None = None,
    ) -> None:
        self._learner = learner
        self._batches = batches
        self._loader = loader
        self._journal = journal
        self._gang = gang
        self._precision = precision
        self._seed = seed
        self._watch = watch
        self._publish = publish
        self._best = best

    def run(self, train_step_nr: int) -> float | None:
        """Evaluate; the score (−loss) only serves the Trainer's question whether to stop.

        None when interrupted: an evaluation that was due is made up for on resuming. Only what all ranks have agreed on
        may decide that: a rank that knew of a signal before the others would leave them waiting for its sums.
        """
        if self._journal.interrupted:
            return None
        was_training = self._learner.training
        self._learner.eval()
        with torch.no_grad(), self._precision.autocast(self._gang.device):
            metrics, histograms = self._sums()
        self._learner.train(was_training)
        _check_targets(metrics)
        averages = {name: float(total / count) for name, (total, count) in metrics.items()}
        report = {name: float(value) for name, value in self._learner.report(averages, histograms).items()}
        journal = self._journal
        # A figure over nothing (a step ahead that no held-out piece has) is none.
        journal.held_out = {name: value for name, value in report.items() if math.isfinite(value)}
        journal.held_out_step = train_step_nr
        self._watch.faults = journal.collapsing  # A resumed journal is known only now.
        journal.collapse = self._watch.update(train_step_nr, self._learner.collapse(report))
        journal.collapsing = self._watch.faults
        self._publish(train_step_nr, report)
        if self._best is not None:
            self._best.see(train_step_nr, report)
        return -averages.get("loss", 0.0)

    def reset(self) -> None:
        """Nothing is kept between evaluations but the journal."""

    def _sums(self) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
        metrics: dict[str, tuple[Tensor, Tensor]] = {}
        histograms: dict[str, Tensor] = {}
        rank, size, device = self._gang.rank, self._gang.size, self._gang.device
        for number in range(rank, len(self._batches), size):
            audio = self._loader.batch(self._batches[number], derived_seed(self._seed, _EVALUATION, number))
            if audio is None:
                continue
            loss = self._learner(audio.to(device))
            for name, (total, count) in loss.metrics.items():
                old = metrics.get(name)
                new = (total.double(), count.double())
                metrics[name] = new if old is None else (old[0] + new[0], old[1] + new[1])
            for name, counts in loss.histograms.items():
                histograms[name] = histograms[name] + counts.double() if name in histograms else counts.double()
        self._join_in(metrics, histograms)
        if size > 1:
            for name in sorted(metrics):
                pair = torch.stack([part.to(device) for part in metrics[name]])
                self._gang.all_reduce(pair, ReduceOperation.SUM)
                metrics[name] = (pair[0], pair[1])
            for name in sorted(histograms):
                self._gang.all_reduce(histograms[name], ReduceOperation.SUM)
        return metrics, {name: counts.cpu() for name, counts in histograms.items()}

    def _join_in(self, metrics: dict[str, tuple[Tensor, Tensor]], histograms: dict[str, Tensor]) -> None:
        """Let a rank that had no batch, or could read none of its own, add nothing to the sums of the others.

        Raises
        ------
        TrainingStopped
            On all ranks, if none of them could read any.
        """
        gang, first = self._gang, 0 if metrics else self._gang.size
        if gang.size > 1:
            readers = torch.tensor(gang.rank if metrics else gang.size, device=gang.device)
            gang.all_reduce(readers, ReduceOperation.MIN)
            first = int(readers)
        if first == gang.size:
            raise TrainingStopped(
                "none of the held-out recordings can be read (see the messages above); check the manifest with "
                "`speechunits manifest`"
            )
        if gang.size == 1:
            return
        # Sums are added name by name: all ranks must know all of them.
        known: list[Any] = [sorted(metrics), {name: tuple(counts.shape) for name, counts in histograms.items()}]
        gang.broadcast_objects(known, source_rank=first)
        if not metrics:
            zeros = partial(torch.zeros, dtype=torch.float64, device=gang.device)
            metrics.update({name: (zeros(()), zeros(())) for name in known[0]})
            histograms.update({name: zeros(shape) for name, shape in known[1].items()})


def _check_targets(metrics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Raise TrainingStopped where nothing was there to be told: that is no loss of zero, and no figure at all."""
    if "loss" in metrics and float(metrics["loss"][1]) == 0:
        raise TrainingStopped(
            "no frame of the held-out recordings is a target, so that nothing can be measured: are all of them, or "
            "their crops, shorter than a masked span (mask.span frames of 20 ms), or whatever the learner needs? Lower "
            "it, or take longer recordings"
        )


class HeldOutStopper(EarlyStopper):
    """Ends training once held-out evaluations have shown a collapse, or nothing better, for long enough."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def should_stop(self, step_nr: int, score: float) -> bool:  # noqa: ARG002 - fairseq2's signature
        """Tell whether an evaluation has asked for the end."""
        return self._journal.collapse is not None or self._journal.stopped is not None
