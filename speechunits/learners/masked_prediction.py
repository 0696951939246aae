"""Masked prediction of units from an earlier pass, HuBERT (Hsu et al. 2021).

x is the utterance with masked spans, z_x the context at a masked frame; y = z_y is the unit of that frame. It raises
I(z_x; z_y) ≥ H(unit) − cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, MaskConfig, MaskedPredictionConfig
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.masking import span_mask
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.reports import symbols_report
from speechunits.learners.targets import batch_generator, speech_frames
from speechunits.objectives.collapse import inventory_report
from speechunits.objectives.loss import Loss
from speechunits.objectives.masked_prediction import masked_prediction_loss


class MaskedPredictionLearner(Pretrainer):
    """Encoder, projection, and one embedding for each of K units."""

    method = "masked_prediction"
    config: MaskedPredictionConfig
    mask: MaskConfig

    def __init__(
        self, encoder: EncoderConfig, mask: MaskConfig, config: MaskedPredictionConfig, clusters: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.mask = mask
        self.clusters = config.clusters if clusters is None else clusters
        self.encoder = Encoder(encoder)
        self.heads = nn.ModuleDict(
            {
                "context": nn.Linear(encoder.dim, config.final_dim),
                "units": nn.Embedding(self.clusters, config.final_dim),
            }
        )

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the cross-entropy of the units of the masked frames (in training, also of weighted unmasked ones).

        Raises
        ------
        ValueError
            If the batch has no units, or not one for each frame.
        """
        frame_lengths = frame_counts(batch.lengths)
        size = frame_count(batch.waveforms.shape[1])
        units = self._units(batch, size)
        generator = batch_generator(batch.seed, batch.waveforms.device)
        mask = span_mask(frame_lengths, size, self.mask, generator)
        output = self.encoder(batch.waveforms, batch.lengths, mask=mask, every_layer=False, mel=batch.mel).output
        known = (units >= 0) & self.counted(batch)
        chosen = mask & known
        weights = chosen.float()
        if self.training and self.config.unmasked_weight > 0:
            rest = ~mask & known
            weights = weights + self.config.unmasked_weight * rest
        # Only held-out reports ask which frames are speech.
        speech = torch.ones_like(mask) if self.training else speech_frames(batch)
        embeddings: Tensor = self.heads["units"].weight  # type: ignore[assignment]  # an Embedding's own parameter
        return masked_prediction_loss(
            self.heads["context"](output).flatten(0, 1), embeddings, units.flatten(), speech.flatten(),
            temperature=self.config.temperature, chosen=chosen.flatten(), weights=weights.flatten(),
        )  # fmt: skip

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss, chance and bound in bits, accuracy, and how the predicted units are used.

        Chance is the entropy of the targets: what knowing only how frequent each unit is costs.
        """
        return symbols_report(metrics, histograms) | inventory_report(histograms["predictions"], histograms["speech"])

    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors ``encoder.*``, ``heads.*`` and the header that rebuilds them."""
        tensors, header = super().export()
        return tensors, header | {"clusters": self.clusters}

    def _units(self, batch: AudioBatch, size: int) -> Tensor:
        if batch.units is None:
            raise ValueError("masked prediction needs the units of every batch, but this one has none")
        if batch.units.shape != (batch.waveforms.shape[0], size):
            raise ValueError(
                f"the units of a batch must be {(batch.waveforms.shape[0], size)}, one for each frame, but are "
                f"{tuple(batch.units.shape)} instead"
            )
        return batch.units
