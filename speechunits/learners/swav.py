"""SwAV (Caron et al. 2020) on frames.

x and y are the same frame in two views of a recording; z_x is the projected context of the one, z_y the prototype of
the other. It raises I(z_x; z_y) ≥ H(prototype) − cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, SwavConfig
from speechunits.encoder.encoder import Encoder
from speechunits.learners.pairs import PairLearner, encode_pairs, projection
from speechunits.learners.reports import symbols_report
from speechunits.objectives.chosen import waits_for_counts
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32
from speechunits.objectives.swav import sinkhorn, swapped_prediction_loss


class SwavLearner(PairLearner):
    """Encoder, projection and K prototypes of unit length."""

    method = "swav"
    config: SwavConfig

    queue: Tensor
    queued: Tensor

    def __init__(self, encoder: EncoderConfig, config: SwavConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(encoder)
        prototypes = nn.Linear(config.final_dim, config.prototypes, bias=False)
        self.heads = nn.ModuleDict({"context": projection(encoder.dim, config.final_dim), "prototypes": prototypes})
        self.frozen = config.frozen > 0
        self.register_buffer("queue", torch.zeros(2, config.queue, config.final_dim))
        self.register_buffer("queued", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the swapped prediction over the frames that both views share; ValueError if there is one view only."""
        config = self.config
        pairs = encode_pairs(self.encoder, self.heads["context"], batch, self.counted(batch), config.pairs)
        weight: Tensor = self.heads["prototypes"].weight  # type: ignore[assignment]  # a Linear's own parameter
        if self.frozen:
            # Frozen by a zero gradient: data-parallel wrappers count on one for every parameter.
            weight = weight.detach() + 0 * weight
        with torch.autocast(weight.device.type, enabled=False):
            views = [F.normalize(at_least_fp32(view), dim=-1) for view in (pairs.first, pairs.second)]
            prototypes = F.normalize(weight, dim=-1)
            scores = [view @ prototypes.T for view in views]
            codes = [self._assign(place, score, prototypes, pairs.real) for place, score in enumerate(scores)]
        if self.training and config.queue:
            self._enqueue(views, pairs.real)
        return swapped_prediction_loss(
            scores[0], scores[1], codes[0], codes[1], temperature=config.temperature, speech=pairs.speech,
            real=pairs.real,
        )  # fmt: skip

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss, chance and bound in bits, accuracy, and how the prototypes are used, without Sinkhorn."""
        return symbols_report(metrics, histograms)

    def set_progress(self, step: int, total_steps: int) -> None:
        """Let go of the prototypes after their share of the budget."""
        self.frozen = step < self.config.frozen * total_steps

    @torch.no_grad()
    def _assign(self, place: int, scores: Tensor, prototypes: Tensor, real: Tensor) -> Tensor:
        """Return ``(N, K)`` assignments; a full queue takes part, so that small batches are balanced with it."""
        older = self.config.queue if self.training else 0
        if older:
            full = self.queued >= older
            # Where the host would have to wait to know, an empty queue is there without weight.
            older = older if waits_for_counts(scores.device) or bool(full) else 0
            scores = torch.cat((self.queue[place, :older] @ prototypes.T, scores))
            real = torch.cat((full.expand(older), real))
        return sinkhorn(scores, epsilon=self.config.epsilon, iterations=self.config.iterations, real=real)[older:]

    @torch.no_grad()
    def _enqueue(self, views: list[Tensor], real: Tensor) -> None:
        """Queue the pairs; none of a batch that is not finite, whose update is skipped: they would stay for steps."""
        both = torch.stack(views).to(self.queue.dtype)
        added = real.sum() * both.isfinite().all()
        newest = torch.cat((self.queue, both), dim=1)
        self.queue.copy_(newest[:, added + torch.arange(self.config.queue, device=real.device)])
        self.queued += added
