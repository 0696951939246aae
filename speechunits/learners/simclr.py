"""SimCLR (Chen et al. 2020) on frames.

x and y are the same frame in two views of a recording (other crop, pitch, room, noise), z_x and z_y their projected
contexts. It raises I(z_x; z_y | utterance) ≥ log2 N − L, N the frames of the utterance in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, SimclrConfig
from speechunits.encoder.encoder import Encoder
from speechunits.learners.pairs import PairLearner, encode_pairs, projection
from speechunits.learners.reports import contrast_report
from speechunits.objectives.loss import Loss
from speechunits.objectives.simclr import nt_xent_loss


class SimclrLearner(PairLearner):
    """Encoder and projection."""

    method = "simclr"
    config: SimclrConfig

    def __init__(self, encoder: EncoderConfig, config: SimclrConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(encoder)
        self.heads = nn.ModuleDict({"context": projection(encoder.dim, config.final_dim)})

    def forward(self, batch: AudioBatch) -> Loss:
        """Return NT-Xent over the frames that both views share; ValueError if there is one view only."""
        pairs = encode_pairs(self.encoder, self.heads["context"], batch, self.counted(batch), self.config.pairs)
        groups = pairs.rows if self.config.negatives_from == "utterance" else None
        return nt_xent_loss(
            pairs.first, pairs.second, temperature=self.config.temperature, groups=groups, real=pairs.real
        )

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:  # noqa: ARG002 - no symbols
        """Return loss and chance in bits, the bound, and accuracy."""
        return contrast_report(metrics, metrics["chance"])
