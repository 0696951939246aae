"""One training step as fairseq2's Trainer sees it: nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from fairseq2.metrics import MetricBag
from fairseq2.trainer import TrainUnit
from torch import Tensor, nn
from torcheval.metrics import Metric

from speechunits.engine.reader import EngineBatch
from speechunits.learners.learner import Learner
from speechunits.objectives.loss import Loss

PREFIX = "learner/"
"""Marks the learner's own metrics among the Trainer's."""
FLOPS = "flops"
"""Metric of the mean FLOPs of a batch."""


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
        self.targets: list[Tensor] = []
        """Number of targets, a scalar, of each batch of the step that runs."""

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Register the metrics a resumed training already has."""
        for name in sorted(self.metric_names):
            metric_bag.add(PREFIX + name, Ratio())

    def set_step_nr(self, step_nr: int) -> None:
        """Begin a step (they count from 1)."""
        self.ids.clear()
        self.targets.clear()
        self._learner.set_progress(step_nr - 1, self._total_steps)
        self._before_step(step_nr)

    def process_batch(self, batch: EngineBatch, metric_bag: MetricBag) -> tuple[Tensor, None]:
        """Return the summed loss; ``targets`` keeps what :class:`FiniteGuard` divides its gradient by."""
        self.ids += batch.audio.ids
        _seed_dropout(batch.dropout_seed, batch.audio.waveforms.device)
        loss: Loss = self._model(batch.audio)
        finite = loss.sum.detach().isfinite()
        for name, (total, count) in {**loss.metrics, **self._work(batch)}.items():
            if name not in self.metric_names:
                self.metric_names.add(name)
                metric_bag.add(PREFIX + name, Ratio())
            metric_bag.get(PREFIX + name, Ratio).update(torch.where(finite, total, 0), torch.where(finite, count, 0))
        # Ranks must agree on whether there are targets, since gradients are divided by their sum over ranks.
        self.targets.append(loss.count.detach().clamp(min=1))
        # Were the number returned, the Trainer would want it on the host, and the host would wait for the device.
        return loss.sum, None

    def _work(self, batch: EngineBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the mean FLOPs of a batch and the share of its samples that are padding, as (sum, count)."""
        lengths, (rows, width) = batch.audio.lengths, batch.audio.waveforms.shape
        one = lengths.new_ones(())
        return {
            FLOPS: (self._learner.training_flops(self._learner.encoded_lengths(batch.audio)), one),
            "padding_share": (rows * width - lengths.sum(), rows * width * one),
        }


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed torch's own generator of a device.

    ``torch.manual_seed`` also seeds every accelerator there could be; where none is in use it keeps the request, with a
    formatted stack, for the day one is.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
