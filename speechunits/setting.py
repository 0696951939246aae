"""What all trainings of a sweep share, and where each keeps what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from speechunits.asr.tokens import transcript
from speechunits.audio.corpus import Corpus, with_phones_as_text
from speechunits.audio.manifest import Recording
from speechunits.cell import Cell
from speechunits.config import FIELDS, EncoderConfig, ReductionConfig
from speechunits.errors import UsageError
from speechunits.evaluation.score import Side


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cells of a sweep share."""

    corpus: Corpus
    config: ReductionConfig
    encoder: Path | None
    """``encoder.safetensors`` of the pretraining; None where no cell starts from it."""
    folder: Path
    dev: str = "dev"
    units: Path | None = None
    """``units.safetensors``, where recognisers that read units are asked for."""
    extra_hours: Mapping[Side, float] = field(default_factory=dict)
    """Audio-hours on top for baselines of equal compute."""
    architecture: EncoderConfig | None = None
    """What pretraining would have made, where there is no ``encoder`` to ask."""
    encoder_hash: str | None = None
    """SHA-256 of the encoder that published trainings began with, where its file is gone: they are known by it."""
    chosen: Mapping[tuple[Side, float | None], int] = field(default_factory=dict)
    """Which of the settings that were tried trains the cells of a side and label budget."""
    unscored: bool = False
    """A split without transcripts is not recognised: who trains one recogniser from two minutes may have no others."""
    published: Sequence[Mapping[str, Any]] = ()
    """What earlier sweeps have written: their cells of the same key are not trained again."""

    def __post_init__(self) -> None:
        if self.config.finetune.tokens == "phones":
            object.__setattr__(self, "corpus", with_phones_as_text(self.corpus))

    def scored(self, split: str) -> list[Recording]:
        """Return the recordings of a split that have a transcript: those that are recognised and compared.

        Raises
        ------
        UsageError
            If the split has none, unless trainings are ``unscored``.
        """
        held = [row for row in self.corpus.recordings if row.split == split]
        transcribed = [recording for recording in held if transcript(recording)]
        # Found out now, not after the training.
        if not transcribed and not self.unscored:
            held = self.corpus.split(split)
            raise UsageError(
                f"error rates on {split} need its transcripts, but none of its {len(held)} recordings has one; "
                "transcribe at least three recordings (or annotated parts), and have the manifest split anew: make it "
                "again, or remove its column split"
            )
        return transcribed

    def kept_at(self, cell: Cell, key: str, ending: str = "") -> Path:
        """Return where what a training of this key leaves is kept: its folder, or with an ``ending`` a file beside it.

        A training of other settings lies elsewhere, and a trial where the training of the sweep lies that it is.
        """
        return self.folder / f"{replace(cell, trial=None).name}-{key[:8]}{ending}"

    def posteriors_of(self, cell: Cell, key: str) -> dict[str, Path]:
        """Return where a training keeps its posteriors, by split; they never leave the run folder."""
        return {split: self.kept_at(cell, key) / f"{split}.posteriors.safetensors" for split in ("tune", self.dev)}

    def has_posteriors(self, cell: Cell, key: str) -> bool:
        """Tell whether a training left its posteriors: what is published, or was removed, has none."""
        return all(path.exists() for path in self.posteriors_of(cell, key).values())


def check_equal_hours(config: ReductionConfig, todo: Sequence[Cell]) -> None:
    """Raise UsageError where sides of a sweep hear more than others: what settles later would only look worse."""
    sides = {FIELDS[cell.side]: getattr(config, FIELDS[cell.side]) for cell in todo}
    for name in ("budget.hours", "budget.minutes", "self_training.rounds", "patience"):
        values = {field: attrgetter(name)(side) for field, side in sides.items()}
        if len(set(values.values())) > 1:
            raise UsageError(
                f"all sides of a sweep must hear the same audio-hours, but {name} is {values} under reduction; set one "
                "for all (a single training of another length: `speechunits finetune`)"
            )
