"""What every pretraining method (and the CTC recogniser) is to the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import BACKWARD, transformer_flops
from speechunits.frames import frame_counts
from speechunits.objectives.loss import Loss


class Memory(Protocol):
    """Something that remembers a training, and travels in its checkpoints."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: tensors and plain types."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`, unless it is older than what is remembered."""


class Learner(nn.Module, ABC):
    """An encoder with its heads; the whole loss is computed in ``forward``, where data-parallel hooks fire.

    In training mode ``forward`` returns the training loss. In evaluation mode it returns the *reported* loss
    (duplicates among the negatives kept, no dropout), whose metrics and histograms are summed over held-out speech and
    then handed to :meth:`report`. All randomness beyond dropout comes from ``batch.seed``.
    """

    @abstractmethod
    def forward(self, batch: AudioBatch) -> Loss:
        """Return the loss of a batch, summed over its targets, in nats."""

    @abstractmethod
    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Turn averaged metrics and summed histograms into the figures shown: bits, perplexity, active codes and so on.

        ``metrics`` are the ratios sum / count over a whole evaluation. Pretraining learners return at least
        ``loss_bits`` and ``chance_bits`` (per target) and ``bits`` (the bound).
        """

    def collapse(self, report: Mapping[str, float]) -> dict[str, str]:  # noqa: ARG002 - the base learner cannot
        """Return the signs of a collapse that a held-out report shows, by kind, each in words (docs/protocol.md)."""
        return {}

    def set_progress(self, step: int, total_steps: int) -> None:
        """Tell the learner how far training is, for schedules of temperature or freezing. ``step`` counts from 0."""

    @property
    def memory(self) -> Memory | None:
        """What it remembers of a training besides its weights; None where that is nothing."""
        return None

    @property
    def meets_speakers(self) -> bool:
        """Whether rows of a batch should be of few speakers, because the loss compares rows of the same one."""
        return False

    def parameter_groups(self, lr: float) -> list[dict[str, object]]:
        """Return optimiser groups; a group's ``lr`` is scaled by the schedule."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": lr}]

    def encoded_lengths(self, batch: AudioBatch) -> Tensor:
        """Return the samples of every row that a step encodes: those of ``batch``, or of both its views."""
        return batch.lengths

    def training_flops(self, lengths: Tensor) -> Tensor:
        """Return the FLOPs that the blocks of this learner need for a step over :meth:`encoded_lengths`, a scalar.

        6·N·tokens and attention, of real frames only; an encoder that does not learn runs forward only. 0 without any.
        """
        flops = lengths.new_zeros((), dtype=torch.float64)
        for module in self.modules():
            if isinstance(module, Encoder):
                learns = any(parameter.requires_grad for parameter in module.parameters())
                flops += (1 + learns * BACKWARD) * transformer_flops(module.config, frame_counts(lengths))
        return flops

    @abstractmethod
    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors and the JSON header of a bundle of this learner (kind, encoder config, heads)."""
