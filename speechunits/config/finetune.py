"""How a recogniser is fine-tuned from a few labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechunits.config.encoder import EncoderConfig
from speechunits.config.pretrain import BatchConfig, BudgetConfig, EngineConfig, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Masks on the input features (SpecAugment, Park et al. 2019) and speed perturbation."""

    time_masks: int = 2
    time_mask_s: float = 0.4
    """Longest time mask in seconds."""
    channel_masks: int = 2
    channel_mask_share: float = 0.15
    """Widest channel mask as a share of the channels."""
    speed: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Factors of speed perturbation, drawn per utterance."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One CTC fine-tuning."""

    side: Literal["pretrained", "untrained", "logmel"] = "pretrained"
    """``pretrained``: from a checkpoint; ``untrained``: its architecture from scratch; ``logmel``: a small network."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Architecture of the ``untrained`` side; the pretrained side takes its checkpoint's."""
    tokens: Literal["characters", "sentencepiece"] = "characters"
    pieces: int = 200
    """``vocab_size`` of sentencepiece tokens."""
    frozen: float = 0.1
    """Share of the budget in which only the head and the layer mix learn (pretrained side only)."""
    encoder_lr_scale: float = 1.0
    """Learning rate of the encoder as a share of the head's."""
    dropout: float = 0.1
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(batch_s=8.0, crop_s=20.0, min_s=0.1))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, warmup=0.1, hold=0.4))
    budget: BudgetConfig = field(default_factory=lambda: BudgetConfig(hours=10.0))
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0
