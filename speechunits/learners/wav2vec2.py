"""wav2vec 2.0 (Baevski et al. 2020).

x is the utterance with masked spans, z_x the context at a masked frame; y is the latent of that frame, z_y its product
code. It raises I(z_x; z_y | utterance) ≥ log2 N − L, N candidates from the same utterance; held out, negatives are
drawn from all its masked frames, the positive included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, MaskConfig, Wav2Vec2Config, to_tree
from speechunits.encoder.encoder import Encoder, EncoderOutput
from speechunits.encoder.masking import span_mask
from speechunits.encoder.quantizer import ProductQuantizer, Quantized
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.reports import contrast_report
from speechunits.learners.targets import batch_generator, exported, masked_places, pad_rows, speech_frames
from speechunits.objectives.chosen import chosen_places, histogram
from speechunits.objectives.collapse import inventory_report
from speechunits.objectives.loss import Loss
from speechunits.objectives.wav2vec2 import contrastive_loss, diversity_loss, feature_penalty, sample_negatives


class Wav2Vec2Learner(Pretrainer):
    """Encoder, product quantiser and the two projections into the space of the cosine."""

    method = "wav2vec2"
    config: Wav2Vec2Config
    mask: MaskConfig

    def __init__(self, encoder: EncoderConfig, mask: MaskConfig, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.mask = mask
        self.encoder = Encoder(encoder)
        self.groups = groups = config.quantizer.groups
        # The codebook is at least as wide as the cosine's space, in whole groups.
        self.quantizer_dim = math.ceil(config.final_dim / groups) * groups
        self.quantizer = ProductQuantizer(encoder.channels, self.quantizer_dim, config.quantizer)
        self.heads = nn.ModuleDict(
            {
                "context": nn.Linear(encoder.dim, config.final_dim),
                "target": nn.Linear(self.quantizer_dim, config.final_dim),
            }
        )

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the contrastive loss; in training with diversity and feature penalty, each times the targets."""
        config = self.config
        generator = batch_generator(batch.seed, batch.waveforms.device)
        frame_lengths = frame_counts(batch.lengths)
        mask = span_mask(frame_lengths, frame_count(batch.waveforms.shape[1]), self.mask, generator)
        counted = self.counted(batch)
        # Two frames make a contrast; a row with one masked frame has nothing to tell it from.
        mask = mask & ((mask & counted).sum(dim=1, keepdim=True) > 1)
        encoded = self.encoder(batch.waveforms, batch.lengths, mask=mask, every_layer=False, mel=batch.mel)
        chosen = mask & counted
        places, real = chosen_places(chosen)
        loss, quantized = self._contrast(encoded, chosen, generator)
        diversity = diversity_loss(quantized.probabilities, real)
        penalty = feature_penalty(encoded.penalty, encoded.frame_lengths)
        total = loss.sum
        if self.training:
            extra = config.diversity_weight * diversity + config.feature_penalty * penalty
            total = total + extra * loss.count
        if self.training and config.unmasked_weight > 0:
            rest = counted & ~mask
            total = total + config.unmasked_weight * self._contrast(encoded, rest, generator)[0].sum
        one = torch.ones_like(loss.count)
        metrics = loss.metrics | {"diversity": (diversity.detach(), one), "penalty": (penalty.detach(), one)}
        speech = speech_frames(batch).flatten()[places] & real
        histograms = {
            "codes": self._histogram(quantized.codes, real), "speech": self._histogram(quantized.codes, speech)
        }  # fmt: skip
        return Loss(total, loss.count, metrics, histograms)

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss and chance in bits, the bound, accuracy, and how the codebooks are used."""
        return {
            **contrast_report(metrics, math.log(self.config.negatives + 1)),
            "negative_is_positive": metrics["negative_is_positive"],
            "diversity": metrics["diversity"],
            "penalty": metrics["penalty"],
            **inventory_report(histograms["codes"], histograms["speech"]),
        }

    def set_progress(self, step: int, total_steps: int) -> None:  # noqa: ARG002 - the literature cools by steps
        """Set the temperature of the Gumbel softmax."""
        self.quantizer.set_temperature(step)

    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors ``encoder.*``, ``quantizer.*``, ``heads.*`` and the header that rebuilds them."""
        tensors, header = super().export()
        quantizer = {"quantizer": to_tree(self.config.quantizer), "quantizer_dim": self.quantizer_dim}
        return tensors | exported(quantizer=self.quantizer), header | quantizer

    def _contrast(self, encoded: EncoderOutput, chosen: Tensor, generator: torch.Generator) -> tuple[Loss, Quantized]:
        """Return the contrast among the ``(B, S)`` chosen frames of each row, and their codes."""
        places, valid = masked_places(chosen)
        index, _ = chosen_places(chosen)
        quantized: Quantized = self.quantizer(encoded.latents.flatten(0, 1)[index], generator)
        negatives = sample_negatives(
            valid.sum(dim=1), places.shape[1], self.config.negatives, generator, itself=not self.training
        )
        loss = contrastive_loss(
            pad_rows(self.heads["context"](encoded.output.flatten(0, 1)[index]), valid),
            pad_rows(self.heads["target"](quantized.vectors), valid),
            negatives,
            valid,
            temperature=self.config.temperature,
            same=self._same(quantized.codes, negatives, valid),
            mask_same=self.training and self.config.mask_duplicates,
        )
        return loss, quantized

    def _same(self, codes: Tensor, negatives: Tensor, valid: Tensor) -> Tensor:
        """Return ``(B, M, N)``, true where all codes of a negative equal those of the frame."""
        entries = self.config.quantizer.entries
        weights = entries ** torch.arange(codes.shape[1], device=codes.device)
        symbols = pad_rows((codes * weights).sum(dim=1, keepdim=True), valid)[..., 0]
        pairs = symbols[:, None, :].expand(-1, symbols.shape[1], -1)
        return torch.gather(pairs, 2, negatives) == symbols[..., None]

    def _histogram(self, codes: Tensor, chosen: Tensor) -> Tensor:
        """Return ``(G, V)`` counts of ``(N, G)`` codes where ``(N,)`` chosen."""
        entries = self.config.quantizer.entries
        return torch.stack([histogram(column, chosen, entries) for column in codes.unbind(dim=1)])
