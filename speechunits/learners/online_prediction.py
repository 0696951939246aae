"""Masked prediction of the codewords of a teacher that learns alongside, DinoSR (Liu et al. 2023).

x is the utterance with masked spans, z_x the student's context at a masked frame; y is that frame in the teacher's top
layers, the whole utterance seen, z_y its nearest codeword in each. It raises I(z_x; z_y) ≥ H(z_y) − cross-entropy, the
mean over the layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, MaskConfig, MaskedPredictionConfig
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.frontend import normalize
from speechunits.encoder.masking import span_mask
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.ranks import of_first_rank, sum_over_ranks
from speechunits.learners.reports import symbols_report
from speechunits.learners.targets import batch_generator, speech_frames
from speechunits.objectives.chosen import chosen_places
from speechunits.objectives.codebook import Codebook, cluster_sums, codeword_loss, nearest, updated_codebook
from speechunits.objectives.loss import Loss


class OnlinePredictionLearner(Pretrainer):
    """Student, teacher (its moving average), a codebook and a predictor for each of the teacher's top layers."""

    method = "masked_prediction"
    config: MaskedPredictionConfig
    mask: MaskConfig

    sums: Tensor
    counts: Tensor
    started: Tensor

    def __init__(self, encoder: EncoderConfig, mask: MaskConfig, config: MaskedPredictionConfig) -> None:
        super().__init__()
        settings = config.teacher
        if not 1 <= settings.layers <= encoder.layers:
            raise ValueError(
                f"teacher.layers must be within 1 and the encoder's {encoder.layers}, but is {settings.layers} instead"
            )
        self.config = config
        self.groups = settings.layers
        self.mask = mask
        self.encoder = Encoder(encoder)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(requires_grad=False).eval()
        self.heads = nn.ModuleDict({"context": nn.Linear(encoder.dim, settings.layers * settings.codewords)})
        self.register_buffer("sums", torch.zeros(settings.layers, settings.codewords, encoder.dim))
        self.register_buffer("counts", torch.ones(settings.layers, settings.codewords))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._begun = False
        """Whether the host knows that codebooks are ``started``: it asks until they are, and never again."""

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the cross-entropy of the teacher's codewords at masked frames; in training, codebooks follow."""
        settings = self.config.teacher
        frame_lengths = frame_counts(batch.lengths)
        size = frame_count(batch.waveforms.shape[1])
        generator = batch_generator(batch.seed, batch.waveforms.device)
        mask = span_mask(frame_lengths, size, self.mask, generator)
        counted = self.counted(batch)
        places, there = chosen_places(counted)
        # (R, D) for each codebook, R the frames of the batch that count, in order.
        features = self._features(batch, frame_lengths, places)
        if self.training and not self._begun:
            self._begin(features, int(there.sum()), generator)
        codes = torch.stack(
            [nearest(layer, self._codebook(place).codewords) for place, layer in enumerate(features)], 1
        )
        if self.training:
            self._learn(features, codes, there)
        output = self.encoder(batch.waveforms, batch.lengths, mask=mask, every_layer=False, mel=batch.mel).output
        speech = speech_frames(batch)

        def loss_at(chosen: Tensor) -> Loss:
            among, counts = chosen_places(chosen.flatten()[places] & there)
            frames = places[among]
            logits = self.heads["context"](output.flatten(0, 1)[frames])
            logits = logits.view(-1, settings.layers, settings.codewords)
            return codeword_loss(logits, codes[among], speech.flatten()[frames], counts)

        loss = loss_at(mask)
        if self.training and self.config.unmasked_weight > 0:
            loss = loss._replace(sum=loss.sum + self.config.unmasked_weight * loss_at(counted & ~mask).sum)
        return loss

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss, chance and bound in bits, means over the codebooks, accuracy, and how codewords are used."""
        return symbols_report(metrics, histograms)

    @torch.no_grad()
    def set_progress(self, step: int, total_steps: int) -> None:
        """Let the teacher follow the student: λ rises from its first to its last value over ``ramp``."""
        settings = self.config.teacher
        if step == 0:
            return
        risen = min(step / max(settings.ramp * total_steps, 1), 1.0)
        decay = settings.decay_start + risen * (settings.decay_end - settings.decay_start)
        for follower, leader in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
            follower.lerp_(leader, 1 - decay)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set the training mode; the teacher drops nothing out."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def _features(self, batch: AudioBatch, frame_lengths: Tensor, places: Tensor) -> list[Tensor]:
        """Return the ``(R, D)`` real frames of each of the top layers, normalised over the time of their utterance."""
        layers = self.teacher(batch.waveforms, batch.lengths, mel=batch.mel).layers[-self.config.teacher.layers :]
        return [normalize(layer.float(), frame_lengths).flatten(0, 1)[places] for layer in layers]

    def _codebook(self, place: int) -> Codebook:
        return Codebook(self.sums[place], self.counts[place])

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._begun = False

    def _begin(self, features: list[Tensor], frames: int, generator: torch.Generator) -> None:
        """Start the codebooks where they are not; the one place that waits for the device, in the first step."""
        if not self.started:
            self._start(features, frames, generator)
        self._begun = bool(self.started)

    @torch.no_grad()
    def _start(self, features: list[Tensor], frames: int, generator: torch.Generator) -> None:
        """Begin with some of the first batch's ``frames`` as codewords: random vectors far from all would die.

        Not with a batch without frames, or with values that are not finite.
        """
        size = self.config.teacher.codewords
        chosen = []
        for layer in features:
            drawn = torch.randint(max(frames, 1), (size,), generator=generator, device=layer.device)
            chosen.append(layer[drawn] if frames else layer.new_zeros(size, layer.shape[1]))
        first = of_first_rank(torch.stack(chosen))
        enough = of_first_rank(torch.tensor(frames, device=self.sums.device)) > 0
        if not enough or not first.isfinite().all():
            return
        self.sums.copy_(first)
        self.started.fill_(value=True)

    @torch.no_grad()
    def _learn(self, features: list[Tensor], codes: Tensor, real: Tensor) -> None:
        settings = self.config.teacher
        for place, layer in enumerate(features):
            batch = cluster_sums(layer, codes[:, place], settings.codewords, real)
            batch = Codebook(sum_over_ranks(batch.sums), sum_over_ranks(batch.counts))
            self.sums[place], self.counts[place] = updated_codebook(
                self._codebook(place), batch, decay=settings.codebook_decay
            )
