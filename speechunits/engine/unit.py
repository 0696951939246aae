"""One training step as fairseq2's Trainer sees it, and the guard against losses that are not finite."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable

import torch
from fairseq2.metrics import MetricBag
from fairseq2.nn.data_parallel import DataParallelFacade
from fairseq2.trainer import TrainUnit
from fairseq2.typing import ContextManager
from torch import Tensor, nn
from torcheval.metrics import Metric

from speechunits.engine.journal import Journal
from speechunits.engine.reader import EngineBatch
from speechunits.errors import TrainingStopped
from speechunits.learners.learner import Learner
from speechunits.objectives.loss import Loss

PREFIX = "learner/"
"""Marks the learner's own metrics among the Trainer's."""
FLOPS = "flops"
"""Metric of the mean FLOPs of a batch."""
_MOST_SKIPPED = 5
"""Steps in a row without a finite gradient after which training stops."""


class Ratio(Metric[Tensor]):
    """Σ sum / Σ count over batches and ranks."""

    total: Tensor
    weight: Tensor

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__(device=device)
        self._add_state("total", torch.zeros((), dtype=torch.float64, device=device))
        self._add_state("weight", torch.zeros((), dtype=torch.float64, device=device))

    @torch.inference_mode()
    def update(self, total: Tensor, weight: Tensor) -> Ratio:
        """Add a batch."""
        self.total += total
        self.weight += weight
        return self

    @torch.inference_mode()
    def compute(self) -> Tensor:
        """Return the ratio; NaN before the first batch."""
        return self.total / self.weight

    @torch.inference_mode()
    def merge_state(self, metrics: Iterable[Ratio]) -> Ratio:
        """Add what other ranks counted."""
        for metric in metrics:
            self.total += metric.total.to(self.device)
            self.weight += metric.weight.to(self.device)
        return self


class LearnerUnit(TrainUnit[EngineBatch]):
    """Runs the learner on a batch; ``before_step`` is called with the number of the step that begins."""

    def __init__(
        self,
        model: nn.Module,
        learner: Learner,
        *,
        total_steps: int,
        before_step: Callable[[int], None],
        metric_names: Iterable[str],
    ) -> None:
        self._model = model
        self._learner = learner
        self._total_steps = total_steps
        self._before_step = before_step
        self.metric_names = set(metric_names)
        """Names of the learner's metrics, known from its first batch on; a checkpoint keeps them."""
        self.ids: list[str] = []
        """Recordings of the step that runs."""

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Register the metrics a resumed training already has."""
        for name in sorted(self.metric_names):
            metric_bag.add(PREFIX + name, Ratio())

    def set_step_nr(self, step_nr: int) -> None:
        """Begin a step (they count from 1)."""
        self.ids.clear()
        self._learner.set_progress(step_nr - 1, self._total_steps)
        self._before_step(step_nr)

    def process_batch(self, batch: EngineBatch, metric_bag: MetricBag) -> tuple[Tensor, int]:
        """Return the summed loss and its number of targets."""
        self.ids += batch.audio.ids
        torch.manual_seed(batch.dropout_seed)
        loss: Loss = self._model(batch.audio)
        if math.isfinite(float(loss.sum.detach())):
            for name, (total, count) in {**loss.metrics, **self._work(batch)}.items():
                if name not in self.metric_names:
                    self.metric_names.add(name)
                    metric_bag.add(PREFIX + name, Ratio())
                metric_bag.get(PREFIX + name, Ratio).update(total, count)
        # Ranks must agree on whether there are targets, since gradients are divided by their sum over ranks.
        return loss.sum, max(1, int(loss.count.detach()))

    def _work(self, batch: EngineBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the mean FLOPs of a batch and the share of its samples that are padding, as (sum, count)."""
        lengths, (rows, width) = batch.audio.lengths, batch.audio.waveforms.shape
        one = lengths.new_ones(())
        return {
            FLOPS: (self._learner.training_flops(lengths), one),
            "padding_share": (rows * width - lengths.sum(), rows * width * one),
        }


class FiniteGuard(DataParallelFacade):
    """Skips the update of a step whose gradient is not finite: its batch is named and counted.

    The norm is the same on all ranks, so all of them skip, or stop, together.
    """

    def __init__(self, facade: DataParallelFacade, learner: Learner, journal: Journal, ids: list[str]) -> None:
        self._facade = facade
        self._learner = learner
        self._journal = journal
        self._ids = ids
        self._in_a_row = 0

    def clip_grad_norm(self, max_norm: float | None) -> Tensor:
        """Clip the gradient; return its norm, or 0 for a step that is skipped."""
        norm = self._facade.clip_grad_norm(max_norm)
        if math.isfinite(float(norm)):
            self._in_a_row = 0
            return norm
        self._in_a_row += 1
        self._journal.skipped_batches += 1
        names = ", ".join(self._ids)
        print(f"skipped a batch whose loss or gradient is not finite: {names}", file=sys.stderr, flush=True)
        if self._in_a_row >= _MOST_SKIPPED:
            raise TrainingStopped(
                f"loss or gradient was not finite in {self._in_a_row} steps in a row, the last with {names}; the last "
                "checkpoint is kept. Lower optimizer.lr or use engine.precision=fp32, and look at these recordings"
            )
        # Without gradients the optimiser leaves weights and moments alone.
        for parameter in self._learner.parameters():
            parameter.grad = None
        return torch.zeros_like(norm)

    def state_dict(self) -> dict[str, object]:
        """Return the model's state."""
        return self._facade.state_dict()

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Load the model's state."""
        self._facade.load_state_dict(state_dict)

    def no_sync(self) -> ContextManager[None]:
        """Accumulate without communication."""
        return self._facade.no_sync()

    def summon_full_parameters(self) -> ContextManager[None]:
        """Gather sharded parameters for a while."""
        return self._facade.summon_full_parameters()
