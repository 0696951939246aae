"""One experiment: a corpus and every stage, as one YAML file of differences from the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from speechunits.config.finetune import FinetuneConfig
from speechunits.config.pretrain import PretrainConfig
from speechunits.config.units import PseudotextConfig, UnitsConfig


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Where the recordings are. Relative paths are relative to the working directory."""

    manifest: Path
    """TSV manifest (id, audio, duration, optional speaker, split, text, start, end)."""
    card: Path | None = None
    """Card of the corpus in data_manifests/: printed where the manifest is absent."""
    phones: Path | None = None
    """Phone alignment for unit quality: id, start, end, phone (``#`` starts no comment)."""
    dev: str = "dev"
    """Split the results are reported on."""
    strip_marks: bool = False
    """Remove combining marks (tones) from transcripts."""


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """The embedded synthetic corpus, for recipes that make their own recordings."""

    hours: float = 1.0
    seed: int = 0
    voices: int = 60
    languages: tuple[str, ...] = ("es",)
    difficulty: str = "field"
    jobs: int = 2


@dataclass(frozen=True, kw_only=True)
class ReductionConfig:
    """The label budgets of a sweep and how its runs are trained (docs/protocol.md)."""

    minutes: tuple[float, ...] = (1, 4, 16)
    """Label budgets in minutes of the pretrained side."""
    baseline_minutes: tuple[float, ...] = (1, 4, 16, 60)
    """Label budgets of the baselines; ``all_labels`` adds everything."""
    all_labels: bool = False
    """Both sides also train on all of train − tune."""
    headline_minutes: float = 1
    seeds: int = 3
    jobs: int = 1
    """Trainings at a time, each with its share of the cores: small batches gain more from this than from threads."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Training of the pretrained side."""
    untrained: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(side="untrained", frozen=0.0))
    logmel: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(side="logmel", frozen=0.0))
    read_units: bool = False
    """Recognisers that read units are trained too, at the budgets of the pretrained side: a curve of its own."""
    units: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(side="units", frozen=0.0))
    """Training of those."""
    encoder: Path | None = None
    """An encoder in place of the recipe's own pretraining: a bundle, a run folder, or a foreign checkpoint (a folder of
    Hugging Face or a name on its hub, fairseq2)."""
    bootstrap: int = 1000
    """Resamples of utterances behind the interval."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, but is {self.jobs} instead")
        sides = ("finetune", "untrained", "logmel", *(["units"] if self.read_units else []))
        kinds = {side: getattr(self, side).tokens for side in sides}
        if "phones" in kinds.values() and len(set(kinds.values())) > 1:
            raise ValueError(f"tokens must be phones on all sides or on none, but are {kinds}: errors must compare")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """A whole experiment."""

    name: str
    """Names the run folder, ``RUNS/NAME``."""
    corpus: CorpusConfig
    synth: SynthConfig | None = None
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    pseudotext: PseudotextConfig = field(default_factory=PseudotextConfig)
    reduction: ReductionConfig = field(default_factory=ReductionConfig)
    runs: Path = Path("runs")
    """Folder of run folders."""
    smoke: bool = False
    """Too small to measure anything: says so in place of a factor."""
