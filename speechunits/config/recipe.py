"""One experiment: a corpus and every stage, as one YAML file of differences from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from speechunits.config.encoder import EncoderConfig
from speechunits.config.finetune import FinetuneConfig, TuningConfig
from speechunits.config.loader import LATER
from speechunits.config.pretrain import PretrainConfig
from speechunits.config.ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Range, check_ranges
from speechunits.config.units import PseudotextConfig, UnitsConfig

Training = TypeVar("Training", PretrainConfig, FinetuneConfig)
FIELDS: Mapping[str, str] = {
    "pretrained": "finetune", "untrained": "untrained", "logmel": "logmel", "units": "units",
}  # fmt: skip
"""Which section of a sweep trains each side."""
_ENOUGH_VOICES = Range("at least 3 (train, dev and test share none)", lambda voices: voices >= 3)


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
    difficulty: Literal["clean", "field"] = "field"
    jobs: int = 2

    def __post_init__(self) -> None:
        check_ranges(
            self, {ABOVE_0: ("hours",), AT_LEAST_0: ("seed",), AT_LEAST_1: ("jobs",), _ENOUGH_VOICES: ("voices",)}
        )
        if not self.languages:
            raise ValueError("languages must name at least one espeak-ng language, such as es, but is empty")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """The rows of a sweep that are decoded with an n-gram model over characters."""

    rows: tuple[Literal["own", "text"], ...] = ()
    """``own``: of that budget's transcripts; ``text``: of a declared set of texts, the same for all sides."""
    text: str = "train"
    """The declared set: ``train`` (train − tune), ``synthetic`` (sentences in no split), or a file, a line a text."""
    sentences: int = 50_000
    """Synthetic ones."""
    order: int = 6
    weights: tuple[float, ...] = (0.3, 0.6, 1.0, 1.5)
    """Of the model; with every bonus tried on ``tune``, for every training of every side."""
    bonuses: tuple[float, ...] = (0.0, 1.0, 2.0)
    """Nats for each symbol written."""
    width: int = 16
    """Prefixes kept a frame."""
    train_again: bool = False
    """Cells that kept no posteriors (they are of an earlier version) are trained again, to the same weights."""

    def __post_init__(self) -> None:
        if self.rows and not (self.weights and self.bonuses):
            raise ValueError("weights and bonuses must name at least one value each to try, but one of them is empty")
        check_ranges(self, {AT_LEAST_1: ("sentences", "order", "width"), AT_LEAST_0: ("weights",)})


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
    headline_seeds: int = 0
    """Seeds of the headline cell where they are more; the better baseline of each budget is trained with them too."""
    equal_compute_seeds: int = 0
    """Seeds of the equal-compute row: baselines that also get pretraining's FLOPs. Costs as much as it says."""
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
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Tried on every side at each label budget with seed 0; the best on ``tune`` trains the budget's other seeds."""
    encoder: Path | None = None
    """An encoder in place of the recipe's own pretraining: a bundle, a run folder, or a foreign checkpoint (a folder of
    Hugging Face or a name on its hub, fairseq2)."""
    allow_pickle: bool = field(default=False, metadata=LATER)
    """``encoder`` may be a pickle, as checkpoints of fairseq2 are: torch's restricted reader runs no code."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    bootstrap: int = 1000
    """Resamples of utterances behind the interval."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            ABOVE_0: ("minutes", "baseline_minutes"), AT_LEAST_1: ("seeds", "jobs", "bootstrap"),
            AT_LEAST_0: ("headline_seeds", "equal_compute_seeds"),
        })  # fmt: skip
        if self.headline_minutes not in self.minutes:
            raise ValueError(
                f"headline_minutes must be one of minutes, {list(self.minutes)}, but is {self.headline_minutes:g}"
            )
        if not self.baseline_minutes and not self.all_labels:
            raise ValueError("baseline_minutes must name at least one budget, but is empty; no factor without them")
        for name, budgets in (("minutes", self.minutes), ("baseline_minutes", self.baseline_minutes)):
            if len(set(budgets)) < len(budgets):
                raise ValueError(f"{name} must differ, but are {list(budgets)}")
        for side, section in FIELDS.items():
            own: FinetuneConfig = getattr(self, section)
            if own.side != side:
                raise ValueError(f"{section}.side must be {side}, but is {own.side}: a section trains its own side")
            if own.encoder != EncoderConfig():
                raise ValueError(
                    f"{section}.encoder must not be set: the untrained side has the encoder of pretraining (set "
                    "pretrain.encoder), the others take theirs from its bundle or have none"
                )
            if own.seed:
                raise ValueError(
                    f"{section}.seed must be 0, but is {own.seed}: every training has its own, of which there are "
                    "`seeds` (one training: `speechunits finetune --label-seed`)"
                )
        kinds = {
            section: getattr(self, section).tokens
            for section in FIELDS.values() if section != "units" or self.read_units
        }  # fmt: skip
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
    cache_dir: Path | None = field(default=None, metadata=LATER)
    """``batch.cache_dir`` of all trainings of the recipe that do not have their own; null: none is kept on disk."""
    smoke: bool = False
    """Too small to measure anything: says so in place of a factor."""

    def __post_init__(self) -> None:
        if self.cache_dir is not None:
            sides = {section: self._cached(getattr(self.reduction, section)) for section in FIELDS.values()}
            object.__setattr__(self, "pretrain", self._cached(self.pretrain))
            object.__setattr__(self, "reduction", replace(self.reduction, **sides))

    def _cached(self, training: Training) -> Training:
        folder = training.batch.cache_dir or self.cache_dir
        return replace(training, batch=replace(training.batch, cache_dir=folder))
