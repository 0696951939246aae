"""Contrastive predictive coding (van den Oord et al. 2018).

x is the past of a frame and z_x its causal context; y is the latent k frames later, k = 1 … K, and z_y that latent. It
raises I(z_x; z_y | utterance, speaker or nothing, by where the negatives come from) ≥ log2 N − L for every k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import CpcConfig, EncoderConfig
from speechunits.encoder.context import Block
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import BACKWARD, further_flops
from speechunits.frames import frame_counts, frames_mask
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.reports import contrast_report
from speechunits.learners.targets import batch_generator
from speechunits.objectives.bounds import infonce_bits
from speechunits.objectives.chosen import on_device
from speechunits.objectives.cpc import cpc_loss, step_pools
from speechunits.objectives.loss import Loss


class CpcLearner(Pretrainer):
    """A causal encoder and a predictor for each step."""

    method = "cpc"
    config: CpcConfig

    def __init__(self, encoder: EncoderConfig, config: CpcConfig) -> None:
        super().__init__()
        if not encoder.causal:
            raise ValueError("CPC predicts the future, so its encoder must be causal, but is not")
        self.config = config
        self.encoder = Encoder(encoder)
        self.heads = nn.ModuleDict()
        if config.predictor == "transformer":
            self.heads["blocks"] = nn.ModuleList(Block(encoder) for _ in range(config.steps))
        self.heads["context"] = nn.Linear(encoder.dim, config.steps * encoder.channels, bias=False)

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the contrastive loss over all frames and steps."""
        encoded = self.encoder(batch.waveforms, batch.lengths, every_layer=False, mel=batch.mel)
        # A batch without a frame has one of padding: nothing below then needs to know.
        missing = int(encoded.output.shape[1] == 0)
        output, latents = (F.pad(frames, (0, 0, 0, missing)) for frames in (encoded.output, encoded.latents))
        counted = F.pad(self.counted(batch), (0, missing))
        generator = batch_generator(batch.seed, latents.device)
        pool = step_pools(counted, self._groups(batch), self.config.steps, self.config.negatives, generator)
        predictions = self._predictions(output, encoded.frame_lengths)
        return cpc_loss(predictions, latents, counted, pool, mask_same=self.training)

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:  # noqa: ARG002 - no symbols
        """Return loss and chance in bits, the bound, also for every step, and accuracy."""
        candidates = self.config.negatives + 1
        steps = range(1, self.config.steps + 1)
        return {
            **contrast_report(metrics, math.log(candidates)),
            "negative_is_positive": metrics["negative_is_positive"],
            **{f"bits_{step}": infonce_bits(metrics[f"loss_{step}"], candidates) for step in steps},
        }

    @property
    def meets_speakers(self) -> bool:
        """Whether negatives come from rows of the same speaker."""
        return self.config.negatives_from == "speaker"

    def training_flops(self, lengths: Tensor) -> Tensor:
        """Return the FLOPs of the encoder's blocks and of the predictors', where these are blocks too."""
        flops = super().training_flops(lengths)
        if self.config.predictor == "transformer":
            blocks = further_flops(self.encoder.config, self.config.steps, frame_counts(lengths))
            flops += (1 + BACKWARD) * blocks
        return flops

    def _predictions(self, output: Tensor, frame_lengths: Tensor) -> Tensor:
        batch, size, _ = output.shape
        steps = self.config.steps
        if self.config.predictor == "linear":
            predictions: Tensor = self.heads["context"](output).view(batch, size, steps, -1)
            return predictions
        real = frames_mask(frame_lengths, size) | (frame_lengths == 0)[:, None]
        past = torch.ones(size, size, dtype=torch.bool, device=output.device).tril()
        keys = real[:, None, None, :] & past
        matrices = self.heads["context"].weight.view(steps, -1, output.shape[-1])  # type: ignore[operator]
        blocks: nn.ModuleList = self.heads["blocks"]  # type: ignore[assignment]  # as built above
        mixed = [F.linear(block(output, keys), matrices[step]) for step, block in enumerate(blocks)]
        return torch.stack(mixed, dim=2)

    def _groups(self, batch: AudioBatch) -> Tensor:
        """Return ``(B,)`` int64: which rows share their negatives."""
        if self.config.negatives_from == "utterance":
            names: tuple[str, ...] = tuple(map(str, range(len(batch.ids))))
        elif self.config.negatives_from == "speaker":
            names = batch.speakers or batch.ids
        else:
            names = ("",) * len(batch.ids)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return on_device([numbers[name] for name in names], batch.waveforms.device)
