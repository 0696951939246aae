"""Direct mutual information coding (McAllester 2018): both networks trained, no negatives.

x is the utterance with masked spans (or its past), z_x the context of a frame; y is that frame (or one ``shift`` later,
or the same one in another view), z_y one of K symbols that a target network gives its latent. It raises
I(z_x; z_y) ≥ H(z_y) − cross-entropy, at most ln K.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import DirectMIConfig, EncoderConfig, MaskConfig
from speechunits.encoder.encoder import Encoder, EncoderOutput
from speechunits.encoder.masking import span_mask
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.pairs import second_view
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.ranks import sum_over_ranks
from speechunits.learners.reports import symbols_report
from speechunits.learners.targets import batch_generator, speech_frames
from speechunits.objectives.chosen import chosen_places, on_device
from speechunits.objectives.direct_mi import direct_mi_loss, updated_marginal
from speechunits.objectives.loss import Loss


class DirectMILearner(Pretrainer):
    """Encoder, predictor of symbols, target network, and the moving average of the symbols' frequencies."""

    method = "direct_mi"
    config: DirectMIConfig
    mask: MaskConfig

    marginal: Tensor

    def __init__(self, encoder: EncoderConfig, mask: MaskConfig, config: DirectMIConfig) -> None:
        super().__init__()
        if config.shift and not encoder.causal:
            raise ValueError("direct_mi.shift predicts the future, so the encoder must be causal, but is not")
        self.config = config
        self.mask = mask
        self.encoder = Encoder(encoder)
        self.heads = nn.ModuleDict(
            {
                "context": nn.Linear(encoder.dim, config.symbols),
                "target": nn.Sequential(
                    nn.Linear(encoder.channels, config.hidden_dim),
                    nn.GELU(),
                    nn.Linear(config.hidden_dim, config.symbols),
                ),
            }
        )
        # Symbols begin told apart: from p(z | y) near uniform, where all symbols say the same, learning is slow.
        last: nn.Linear = self.heads["target"][-1]  # type: ignore[index]  # as built above
        with torch.no_grad():
            last.weight.mul_(config.sharpness)
        self.frozen = config.frozen > 0
        rows = max(1, config.speakers)
        self.register_buffer("marginal", torch.full((rows, config.symbols), 1 / config.symbols))

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the loss over masked frames (or all that have a frame ``shift`` later).

        Raises
        ------
        ValueError
            If the target is to come from a second view and there is none.
        """
        frame_lengths = frame_counts(batch.lengths)
        size = frame_count(batch.waveforms.shape[1])
        mask = None
        counted = self.counted(batch)
        if self.config.shift:
            # A batch shorter than the shift has nothing to predict.
            chosen = F.pad(counted[:, self.config.shift :], (0, min(self.config.shift, size)))
        else:
            generator = batch_generator(batch.seed, batch.waveforms.device)
            mask = span_mask(frame_lengths, size, self.mask, generator)
            chosen = mask & counted
        encoded = self.encoder(batch.waveforms, batch.lengths, mask=mask, every_layer=False, mel=batch.mel)
        speech = speech_frames(batch)
        loss = self._loss(batch, encoded, chosen, speech)
        if mask is not None and self.training and self.config.unmasked_weight > 0:
            rest = counted & ~mask
            loss = loss._replace(
                sum=loss.sum + self.config.unmasked_weight * self._loss(batch, encoded, rest, speech).sum
            )
        return loss

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss, chance and bound in bits, accuracy, and how the symbols are used."""
        return symbols_report(metrics, histograms)

    def set_progress(self, step: int, total_steps: int) -> None:
        """Let the target network's perceptron learn after its share of the budget."""
        self.frozen = step < self.config.frozen * total_steps

    def _loss(self, batch: AudioBatch, encoded: EncoderOutput, chosen: Tensor, speech: Tensor) -> Loss:
        """Return the loss of the ``(B, S)`` chosen frames; in training the marginal follows their symbols first."""
        index, real = chosen_places(chosen)
        size = chosen.shape[1]
        latents = encoded.latents
        if self.config.views:
            latents, index, real, places = self._other_view(batch, index, real, size)
        else:
            places = self._ahead(index, size)
        rows, frames = index // size, index % size
        context = self.heads["context"](encoded.output[rows, frames])
        targets = self.heads["target"](latents[rows, places])
        if self.frozen:
            # Frozen by a zero gradient: data-parallel wrappers count on one for every parameter. The latents are not.
            targets = targets.detach() + 0 * targets
        speakers = self._speaker_rows(batch)[rows]
        if self.training:
            self._count(targets.detach(), speakers, real)
        return direct_mi_loss(
            context,
            targets,
            self.marginal[speakers],
            speech[rows, self._ahead(index, size)],
            gradient=self.config.gradient,
            real=real,
        )

    def _ahead(self, index: Tensor, size: int) -> Tensor:
        """Return the frame whose symbol each of the chosen ones is to tell."""
        return (index % size + self.config.shift).clamp(max=size - 1)

    def _other_view(
        self, batch: AudioBatch, index: Tensor, real: Tensor, size: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the latents of the second view; index, whether real, and place there of the targets it has."""
        waveforms, lengths, matches = second_view(batch)
        latents, _ = self.encoder.latents(waveforms, lengths, batch.second_mel)
        rows = index // size
        there = matches[rows, self._ahead(index, size)]
        found, real = chosen_places(real & (there >= 0) & (there < frame_counts(lengths)[rows]))
        return latents, index[found], real, torch.where(real, there[found], 0)

    def _speaker_rows(self, batch: AudioBatch) -> Tensor:
        """Return ``(B,)`` int64: the marginal of each row's speaker, by a hash of the name."""
        names = batch.speakers or batch.ids
        numbers = [zlib.crc32(name.encode()) % len(self.marginal) for name in names]
        return on_device(numbers, batch.waveforms.device)

    @torch.no_grad()
    def _count(self, targets: Tensor, speakers: Tensor, real: Tensor) -> None:
        probabilities = targets.float().softmax(dim=-1) * real[:, None]
        sums = sum_over_ranks(torch.zeros_like(self.marginal).index_add_(0, speakers, probabilities))
        self.marginal.copy_(updated_marginal(self.marginal, sums, decay=self.config.decay))
