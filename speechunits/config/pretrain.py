"""How an encoder is pretrained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechunits.config.encoder import EncoderConfig, MaskConfig
from speechunits.config.learners import (
    CpcConfig,
    DirectMIConfig,
    MaskedPredictionConfig,
    SimclrConfig,
    SwavConfig,
    Wav2Vec2Config,
)
from speechunits.config.loader import LATER, to_tree
from speechunits.config.ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, BELOW_1, SHARE, check_ranges
from speechunits.config.views import ViewsConfig


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
    cache_dir: Path | None = field(default=None, metadata=LATER)
    """Folder where decoded audio is kept for other trainings of the same recordings; null: nowhere."""
    cache_disk_mb: int = field(default=10_000, metadata=LATER)
    """Largest size of that folder in MB (115 an audio-hour); what was unused for longest is removed."""
    features_ahead: Literal["none", "kept", "all"] = field(default="kept", metadata=LATER)
    """On CPUs, log-mel that is computed while the model trains: what can be kept, in what audio leaves of ``cache_mb``
    and in ``cache_dir``; or all of it, which pays where a core is idle."""

    def __post_init__(self) -> None:
        check_ranges(self, {ABOVE_0: ("batch_s",), AT_LEAST_0: ("min_s", "cache_mb", "cache_disk_mb")})
        if not 0 < self.crop_s <= 20:
            raise ValueError(f"crop_s must be within (0, 20] seconds, but is {self.crop_s} instead")
        if self.crop_s < self.min_s:
            raise ValueError(
                f"crop_s must be at least min_s, {self.min_s:g} s, but is {self.crop_s:g}: no piece is as long"
            )


def deciding_batch(config: BatchConfig) -> dict[str, Any]:
    """Return the settings that decide which weights come out: where audio and features are kept does not.

    ``cache_mb`` stays, at what was once its default, since the keys of what older versions trained hold it.
    """
    idle = ("cache_dir", "cache_disk_mb", "features_ahead")
    return {name: value for name, value in to_tree(config).items() if name not in idle} | {"cache_mb": 2000}


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

    def __post_init__(self) -> None:
        check_ranges(self, {
            ABOVE_0: ("lr", "epsilon"), BELOW_1: ("betas",), SHARE: ("warmup", "hold", "final_scale"),
            AT_LEAST_0: ("weight_decay", "max_grad_norm"),
        })  # fmt: skip
        if self.warmup + self.hold > 1:
            raise ValueError(
                f"warmup and hold must be shares that sum to at most 1, but are {self.warmup:g} and {self.hold:g}"
            )


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When to stop: hours of audio seen, and optionally minutes of wall clock."""

    hours: float = 1.0
    """Audio-hours seen over all ranks; a second counts once a step."""
    minutes: float | None = None
    """Wall-clock limit; reaching it ends the run early, named in the results."""

    def __post_init__(self) -> None:
        check_ranges(self, {ABOVE_0: ("hours", "minutes")})


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
    compile: bool = False
    """Compile the transformer's blocks (``torch.compile``): a minute or two at the start; no gain on CPUs (LOG)."""
    checkpoint_minutes: float = 2.0
    """Minutes of wall clock between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, in place of minutes (tests, reproducible interruptions)."""
    held_out_evaluations: int = 10
    """Evaluations on ``tune`` over the budget."""
    progress_s: float = 5.0
    """Seconds between progress lines where the output is not a terminal."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_1: ("accumulate", "checkpoint_steps"),
            AT_LEAST_0: ("threads", "checkpoint_minutes", "held_out_evaluations", "progress_s"),
        })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining."""

    learner: Literal["wav2vec2", "masked_prediction", "cpc", "simclr", "swav", "direct_mi"] = "wav2vec2"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    wav2vec2: Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    masked_prediction: MaskedPredictionConfig = field(default_factory=MaskedPredictionConfig)
    cpc: CpcConfig = field(default_factory=CpcConfig)
    simclr: SimclrConfig = field(default_factory=SimclrConfig)
    swav: SwavConfig = field(default_factory=SwavConfig)
    direct_mi: DirectMIConfig = field(default_factory=DirectMIConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    """How simclr, swav and direct_mi see a recording twice."""
    speech_only: bool = field(default=False, metadata=LATER)
    """Silent frames are heard, but are neither targets nor negatives: in recordings with long pauses, what tells one
    moment of noise from another would be half of what is learned."""
    start: Path | None = field(default=None, metadata=LATER)
    """Encoder to begin with, of the same shape: a run folder or a bundle, of other speech say. Where units are
    predicted, it gives the first targets too, as the pass before would (``target_layer``), unless ``first_targets`` are
    others."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, {AT_LEAST_0: ("seed",)})
        shifted = self.learner == "direct_mi" and self.direct_mi.shift > 0
        if (self.learner == "cpc" or shifted) and not self.encoder.causal:
            raise ValueError(f"encoder.causal must be true for {self.learner}, which predicts the future, but is false")
        targets, passes = self.masked_prediction.targets, self.masked_prediction.passes
        if self.learner == "masked_prediction" and targets != "units" and passes > 1:
            raise ValueError(
                f"masked_prediction.passes must be 1 where targets are {targets}, which need no earlier pass, but is "
                f"{passes} instead"
            )
        top = self.masked_prediction.teacher.layers
        if self.learner == "masked_prediction" and self.units_online and top > self.encoder.layers:
            raise ValueError(
                f"masked_prediction.teacher.layers must be at most the encoder's {self.encoder.layers}, but is {top}"
            )
        altered = self.masked_prediction.altered
        if self.learner == "masked_prediction" and self.units_online and altered > 0:
            raise ValueError(
                f"masked_prediction.altered must be 0 where targets are online, but is {altered:g} instead: the "
                "teacher hears the alterations too, and its targets would be theirs; let targets be units"
            )

    @property
    def units_online(self) -> bool:
        """Whether masked prediction takes its targets from a teacher that learns alongside."""
        return self.masked_prediction.targets == "online"

    @property
    def needs_units(self) -> bool:
        """Whether the learner predicts the units of an earlier pass."""
        return self.learner == "masked_prediction" and self.masked_prediction.targets == "units"

    @property
    def needs_phones(self) -> bool:
        """Whether the learner predicts the phones of its corpus."""
        return self.learner == "masked_prediction" and self.masked_prediction.targets == "phones"

    @property
    def needs_views(self) -> bool:
        """Whether the learner sees every recording twice."""
        return self.learner in ("simclr", "swav") or (self.learner == "direct_mi" and self.direct_mi.views)
