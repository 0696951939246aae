"""How a recogniser is fine-tuned from a few labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from speechunits.config.encoder import EncoderConfig
from speechunits.config.loader import LATER
from speechunits.config.pretrain import BatchConfig, BudgetConfig, EngineConfig, OptimizerConfig
from speechunits.config.ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, BELOW_1, NOT_0, SHARE, check_ranges


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
    masks_from: float = field(default=0.0, metadata=LATER)
    """How many times the budget must hear each recording for there to be masks: with fewer than some thirty a network
    learns more slowly for them, and that is all (LOG, 2026-11-30)."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_0: ("time_masks", "time_mask_s", "channel_masks", "masks_from"), SHARE: ("channel_mask_share",),
            ABOVE_0: ("speed",),
        })  # fmt: skip
        if not self.speed:
            raise ValueError("speed must name at least one factor, but is empty; [1] leaves recordings as they are")

    def masked(self, share: float) -> AugmentConfig:
        """Return the same with a share of its masks, however often it is heard; more than all where it is above 1."""
        return replace(
            self, time_masks=round(share * self.time_masks), channel_masks=round(share * self.channel_masks),
            masks_from=0.0,
        )  # fmt: skip

    def heard(self, times: float) -> AugmentConfig:
        """Return the same for recordings that are heard so many times."""
        return self if times >= self.masks_from else self.masked(0.0)


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig:
    """Recordings without labels, labelled by the recogniser itself (Kahn et al. 2020)."""

    rounds: int = 0
    """Trainings after the first, each from the start; every one costs the whole budget again."""
    share: float = 0.5
    """Of the unlabelled recordings in which it hears something, the surest share."""

    def __post_init__(self) -> None:
        check_ranges(self, {AT_LEAST_0: ("rounds",), NOT_0: ("share",)})


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Values that every side of a sweep is tried with alike, each with each; empty: those of its own settings."""

    dropout: tuple[float, ...] = ()
    lr: tuple[float, ...] = ()
    """Peak rates of the optimiser."""
    masks: tuple[float, ...] = field(default=(), metadata=LATER)
    """Shares of a side's own masks (0: none): what is heard often needs them, what is heard ten times is learnt more
    slowly with them (LOG, 2026-11-30)."""
    hours: float | None = field(default=None, metadata=LATER)
    """Audio-hours of a trial; null: the side's own budget, and the chosen trial is a training of the sweep as well."""

    def __post_init__(self) -> None:
        for name, values in (("dropout", self.dropout), ("lr", self.lr), ("masks", self.masks)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must name each value to try once, but is {list(values)}")
        check_ranges(self, {BELOW_1: ("dropout",), ABOVE_0: ("lr", "hours"), AT_LEAST_0: ("masks",)})

    def candidates(self, own: FinetuneConfig) -> list[FinetuneConfig]:
        """Return a side's settings with each combination of the values in place of its own, for a whole training."""
        return [
            replace(own, dropout=dropout, optimizer=replace(own.optimizer, lr=lr), augment=augment)
            for dropout in self.dropout or (own.dropout,)
            for lr in self.lr or (own.optimizer.lr,)
            for augment in [own.augment.masked(share) for share in self.masks] or [own.augment]
        ]

    def trial(self, number: int, own: FinetuneConfig) -> FinetuneConfig:
        """Return the settings of a side's trial: one of the ``candidates``, for as long as trials last."""
        tried = self.candidates(own)[number]
        return tried if self.hours is None else replace(tried, budget=replace(tried.budget, hours=self.hours))


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One CTC fine-tuning."""

    side: Literal["pretrained", "untrained", "logmel", "units"] = "pretrained"
    """``pretrained``: from a checkpoint; ``untrained``: its architecture from scratch; ``logmel``: a small network;
    ``units``: the same small network, but it reads the units of a frozen inventory and hears nothing else."""
    unit_input: Literal["units", "pieces"] = field(default="units", metadata=LATER)
    """What the side ``units`` reads: the unit of a frame, or the pseudo-text piece that the frame lies in."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Architecture of the ``untrained`` side; the pretrained side takes its checkpoint's."""
    tokens: Literal["characters", "sentencepiece", "phones"] = "characters"
    """``phones``: what is recognised is the corpus's phone alignment (``corpus.phones``) without its silences."""
    pieces: int = 200
    """``vocab_size`` of sentencepiece tokens."""
    frozen: float = 0.1
    """Share of the budget in which only the head and the layer mix learn (pretrained side only)."""
    encoder_lr_scale: float = 1.0
    """Learning rate of the encoder as a share of the head's."""
    logmel_beside: bool = field(default=False, metadata=LATER)
    """An encoder's layers are heard by the network of the side ``logmel``, beside its log-mel: such a side differs from
    that one in nothing but what the encoder adds."""
    silent_edges: bool = True
    """Before the first and after the last speech of a window nothing can be said, in training as in recognition: where
    recordings begin and end with pauses, a network takes many audio-hours to find out by itself where texts begin."""
    dropout: float = 0.1
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(batch_s=8.0, crop_s=20.0, min_s=0.1))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, warmup=0.1, hold=0.4))
    budget: BudgetConfig = field(default_factory=lambda: BudgetConfig(hours=10.0))
    engine: EngineConfig = field(default_factory=EngineConfig)
    average: float = field(default=0.0, metadata=LATER)
    """Share of the budget, at its end, whose weights are averaged into the recogniser's."""
    patience: int = field(default=0, metadata=LATER)
    """Held-out evaluations without a lower CER on ``tune`` after which training ends with the weights of the best; 0
    trains for the whole budget and reads nothing into ``tune``, which who has two minutes of labels does not have."""
    self_training: SelfTrainingConfig = field(default_factory=SelfTrainingConfig, metadata=LATER)
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, {
            BELOW_1: ("frozen", "average", "dropout"), AT_LEAST_0: ("encoder_lr_scale", "patience", "seed"),
            AT_LEAST_1: ("pieces",),
        })  # fmt: skip
        if self.patience and self.average:
            raise ValueError("patience must be 0 where weights are averaged: of an early end there is no last share")
