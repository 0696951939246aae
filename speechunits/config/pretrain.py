"""How an encoder is pretrained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechunits.config.encoder import EncoderConfig, MaskConfig, QuantizerConfig


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config:
    """wav2vec 2.0 (Baevski et al. 2020): masked context against quantised latents."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    final_dim: int = 128
    """``final_dim``: both sides are projected to it before the cosine."""
    negatives: int = 100
    """``num_negatives`` K, from masked frames of the same utterance."""
    temperature: float = 0.1
    """``logit_temp`` κ."""
    diversity_weight: float = 0.1
    """α of equation 2."""
    feature_penalty: float = 10.0
    """``loss_weights[1]``: weight of the mean squared latent."""


@dataclass(frozen=True, kw_only=True)
class MaskedPredictionConfig:
    """HuBERT (Hsu et al. 2021): masked context predicts the unit of an earlier pass."""

    clusters: int = 100
    """K of the k-means whose units are the targets: on MFCC in the first pass, on the encoder itself afterwards."""
    passes: int = 1
    """Passes; each gets an equal part of the budget, its targets from the pass before, its encoder a warm start."""
    target_layer: int | str = "auto"
    """Layer that gives a later pass its targets."""
    final_dim: int = 128
    """``final_dim`` of the cosine head."""
    temperature: float = 0.1
    """``logit_temp``."""
    unmasked_weight: float = 0.0
    """``pred_nomask_weight``."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How training audio is cut and grouped."""

    batch_s: float = 80.0
    """Seconds of audio a step and rank."""
    crop_s: float = 10.0
    """Longest crop in seconds (at most 20); starts are multiples of 320 samples."""
    min_s: float = 0.5
    """Shorter recordings are left out of pretraining, and counted."""
    cache_mb: int = 2000
    """Decoded audio kept in memory (16-bit), in MB."""

    def __post_init__(self) -> None:
        if not 0 < self.crop_s <= 20:
            raise ValueError(f"crop_s must be within (0, 20] seconds, but is {self.crop_s} instead")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a warm-up, a plateau and a decay (tri-stage) as shares of the budget."""

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    warmup: float = 0.08
    """Share of the budget spent in linear warm-up."""
    hold: float = 0.0
    """Share of the budget at the full rate; the rest decays."""
    final_scale: float = 0.05
    """Learning rate at the end, as a share of ``lr``."""
    max_grad_norm: float = 5.0
    """Gradients are clipped to this norm; 0 switches clipping off."""


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When to stop: hours of audio seen, and optionally minutes of wall clock."""

    hours: float = 1.0
    """Audio-hours seen over all ranks; a second counts once a step."""
    minutes: float | None = None
    """Wall-clock limit; reaching it ends the run early, named in the results."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How a training runs on the machine at hand."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 autocast where the processor computes it, else fp32."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several ranks (torchrun or Slurm)."""
    accumulate: int = 1
    """Batches summed before a step."""
    threads: int = 0
    """Torch threads; 0 leaves the machine's own number."""
    checkpoint_minutes: float = 2.0
    """Minutes of wall clock between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, in place of minutes (tests, reproducible interruptions)."""
    held_out_evaluations: int = 10
    """Evaluations on ``tune`` over the budget."""
    progress_s: float = 5.0
    """Seconds between progress lines where the output is not a terminal."""
    tensorboard: bool = True


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining."""

    learner: Literal["wav2vec2", "masked_prediction"] = "wav2vec2"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    wav2vec2: Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    masked_prediction: MaskedPredictionConfig = field(default_factory=MaskedPredictionConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0
