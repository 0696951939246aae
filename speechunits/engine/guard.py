"""From the gradient of a sum to an update: its scale, its clipping, and the guard against what is not finite.

Nothing here waits for the device: the number of targets, the norm and the verdict stay there, and a step's verdict is
read when it has long been copied.
"""

from __future__ import annotations

import sys
from collections import deque

import torch
from fairseq2.gang import Gang, ReduceOperation
from fairseq2.nn.data_parallel import DataParallelFacade
from fairseq2.typing import ContextManager
from torch import Tensor
from torch.distributed.tensor import DTensor

from speechunits.engine.journal import Journal
from speechunits.engine.unit import LearnerUnit
from speechunits.errors import TrainingStopped
from speechunits.learners.learner import Learner

_MOST_SKIPPED = 5
"""Steps in a row without a finite gradient after which training stops."""


class Verdicts:
    """Whether the gradients of past steps were finite, by the recordings of each; on a GPU known a step later."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pending: deque[tuple[Tensor, torch.cuda.Event | None, str]] = deque()
        self._in_a_row = 0

    def add(self, finite: Tensor, names: str) -> None:
        """Note a step's verdict, a boolean scalar, and read those known by now; TrainingStopped after five bad ones."""
        event = None
        if finite.device.type == "cuda":
            finite = finite.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()  # type: ignore[no-untyped-call]
        self._pending.append((finite, event, names))
        while self._pending and (self._pending[0][1] is None or len(self._pending) > 1):
            self._read()

    def settle(self) -> None:
        """Read all that are left."""
        while self._pending:
            self._read()

    def _read(self) -> None:
        finite, event, names = self._pending.popleft()
        if event is not None:
            event.synchronize()
        if finite:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._journal.skipped_batches += 1
        print(f"skipped a batch whose loss or gradient is not finite: {names}", file=sys.stderr, flush=True)
        if self._in_a_row >= _MOST_SKIPPED:
            raise TrainingStopped(
                f"loss or gradient was not finite in {self._in_a_row} steps in a row, the last with {names}; the last "
                "checkpoint is kept. Lower optimizer.lr or use engine.precision=fp32, and look at these recordings"
            )


class FiniteGuard(DataParallelFacade):
    """Divides the gradient by the targets of all ranks, clips it, and skips the update where it is not finite.

    The norm is the same on all ranks, so all of them skip, or stop, together.
    """

    def __init__(
        self, facade: DataParallelFacade, learner: Learner, journal: Journal, unit: LearnerUnit, gang: Gang
    ) -> None:
        self._facade = facade
        self._learner = learner
        self._unit = unit
        self._gang = gang
        self._parameters = list(learner.parameters())
        self._sharded = any(isinstance(parameter, DTensor) for parameter in self._parameters)
        self._optimizer: torch.optim.Optimizer | None = None
        self.verdicts = Verdicts(journal)

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        """Guard the updates of this optimiser."""
        self._optimizer = optimizer

    def clip_grad_norm(self, max_norm: float | None) -> Tensor:
        """Scale and clip the gradient of the summed loss; return its norm, or 0 for a step that is skipped."""
        scale = self._scale()
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if self._sharded:
            torch._foreach_mul_([_local(gradient) for gradient in gradients], scale)
            norm = self._facade.clip_grad_norm(max_norm)
        else:
            norm = torch.nn.utils.get_total_norm(gradients).to(scale.device) * scale
            # One pass for the scale and the clip; a norm that is not finite spoils gradients nobody will use.
            limit = scale if max_norm is None else scale * (max_norm / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(gradients, limit)
        finite = norm.isfinite()
        self._skip_unless(finite)
        self.verdicts.add(finite, ", ".join(self._unit.ids))
        return torch.where(finite, norm, 0.0)

    def _scale(self) -> Tensor:
        """Return what turns the gradient, averaged over batches and ranks, into that of the mean over all targets."""
        counts = self._unit.targets
        total = torch.stack(counts).sum()
        if self._gang.size > 1:
            self._gang.all_reduce(total, ReduceOperation.SUM)
        return (len(counts) * self._gang.size / total).float()

    def _skip_unless(self, finite: Tensor) -> None:
        """Let the optimiser leave weights and moments alone where the gradient is not finite."""
        if self._optimizer is not None and self._optimizer.defaults.get("fused"):
            # Its kernels read this themselves, as they do for gradient scalers.
            self._optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        elif not finite:
            for parameter in self._parameters:
                parameter.grad = None

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


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
