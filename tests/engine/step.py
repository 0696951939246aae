"""A training step as fairseq2's Trainer takes it, without the Trainer."""

import torch

from speechunits.engine.native import prepare_fairseq2

prepare_fairseq2()

from fairseq2.gang import FakeGang  # noqa: E402 - only after the stand-ins
from fairseq2.metrics import MetricBag  # noqa: E402
from fairseq2.nn.data_parallel import get_data_parallel_facade  # noqa: E402

from speechunits.engine.guard import FiniteGuard  # noqa: E402
from speechunits.engine.journal import Journal  # noqa: E402
from speechunits.engine.reader import EngineBatch  # noqa: E402
from speechunits.engine.unit import PREFIX, LearnerUnit, Ratio  # noqa: E402

__all__ = ["PREFIX", "Ratio", "Step"]


class Step:
    """Takes steps on the device of the learner, in ``dtype`` where one is given."""

    def __init__(self, learner, dtype=None):
        self.learner = learner.train()
        self.device = next(learner.parameters()).device
        self.dtype = dtype
        self.journal = Journal()
        self.unit = LearnerUnit(learner, learner, total_steps=10, before_step=lambda _: None, metric_names=[])
        self.bag = MetricBag(self.device)
        gang = FakeGang(self.device)
        self.guard = FiniteGuard(get_data_parallel_facade(learner), learner, self.journal, self.unit, gang)
        self.optimizer = torch.optim.AdamW(learner.parameters(), lr=0.1, fused=True)
        self.guard.take(self.optimizer)

    def __call__(self, *batches, max_norm=1.0):
        self.optimizer.zero_grad()
        self.unit.set_step_nr(1)
        for item in batches:
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                loss, _ = self.unit.process_batch(EngineBatch(item, 0), self.bag)
            (loss / len(batches)).backward()
        norm = self.guard.clip_grad_norm(max_norm)
        self.optimizer.step()
        return norm
