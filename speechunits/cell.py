"""The cells of a sweep: which trainings stand behind the reduction factor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from speechunits.config import ReductionConfig
from speechunits.evaluation.curves import Measurements, choose_baseline
from speechunits.evaluation.score import BASELINES, Score, Side, label_of, rate_name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of the sweep."""

    side: Side
    minutes: float | None
    """Label budget; None for all labels."""
    seed: int
    compute: Literal["", "equal"] = ""
    """``equal``: with pretraining's FLOPs on top."""
    trial: int | None = None
    """Which of the settings that are tried; None: a cell of the sweep itself."""

    @property
    def name(self) -> str:
        """Name of the cell's files."""
        return f"{self.side}-{label_of(self.minutes)}-{self.seed}{self.compute and '-' + self.compute}" + (
            "" if self.trial is None else f"-trial{self.trial}"
        )

    def made(self, score: Score) -> bool:
        """Tell whether a score is of this training, decoded without a language model."""
        return self.trial is None and (score.side, score.minutes, score.seed, score.compute, score.lm) == (
            self.side, self.minutes, self.seed, self.compute, "",
        )  # fmt: skip


LONG_MINUTES = 100
"""Above this the untrained encoder is trained with one seed: its curve is flat there, and its runs the dearest."""


def cells(config: ReductionConfig, train_minutes: float = 0.0) -> list[Cell]:
    """Return the sweep's cells, the headline first and the seeds outermost: an early look shows a whole curve.

    ``train_minutes`` is what "all labels" amounts to.
    """
    found = [
        Cell(side=side, minutes=minutes, seed=seed)
        for seed in range(max(config.seeds, config.headline_seeds))
        for side, budgets in _budgets(config).items()
        for minutes in budgets
        if not (side == "untrained" and seed and (minutes or train_minutes) > LONG_MINUTES)
        and not (side not in BASELINES and seed >= config.seeds and minutes != config.headline_minutes)
    ]
    # The dearest come last.
    return found + [
        replace(cell, compute="equal")
        for cell in found
        if cell.side in BASELINES and cell.seed < config.equal_compute_seeds
    ]


def further(cell: Cell, config: ReductionConfig) -> bool:
    """Tell whether a cell gives the headline's further seeds a baseline of their own."""
    return cell.side in BASELINES and cell.seed >= config.seeds and not cell.compute


def needed(todo: Sequence[Cell], scores: Iterable[Score], config: ReductionConfig) -> list[Cell]:
    """Return the cells without those that give a further seed a baseline the other seeds chose against.

    ``scores`` are those of all other cells.
    """
    found = [score for score in scores if not (score.lm or score.compute) and score.seed < config.seeds]
    tune, rest = (
        Measurements([score for score in found if (score.split == "tune") is on_tune]) for on_tune in (True, False)
    )
    chosen = dict(choose_baseline(rest, tune).chosen)
    return [
        cell for cell in todo
        if not further(cell, config) or cell.side == chosen.get(label_of(cell.minutes), cell.side)
    ]  # fmt: skip


def trials(config: ReductionConfig) -> list[Cell]:
    """Return the cells in which every side tries the values of ``config.tuning`` at each budget; none without any."""
    if not (config.tuning.dropout or config.tuning.lr or config.tuning.masks):
        return []
    return [
        Cell(side=side, minutes=minutes, seed=0, trial=trial)
        for side, budgets in _budgets(config).items()
        for minutes in budgets
        for trial in range(len(config.tuning.candidates(config.finetune)))
    ]


def _budgets(config: ReductionConfig) -> dict[Side, list[float | None]]:
    """Return the label budgets of each side, the headline's first, all labels (None) last."""
    everything: list[float | None] = [None] if config.all_labels else []
    budgets: dict[Side, tuple[float, ...]] = {
        "pretrained": config.minutes, "untrained": config.baseline_minutes, "logmel": config.baseline_minutes,
    }  # fmt: skip
    if config.read_units:
        budgets["units"] = config.minutes
    headline = config.headline_minutes
    return {
        side: [*sorted(held, key=lambda budget: (budget != headline, budget)), *everything]
        for side, held in budgets.items()
    }


def summarised(cell: Cell, scores: Sequence[Score], config: ReductionConfig) -> str:
    """Return the error rates of a cell in a line."""
    rates = ", ".join(f"{100 * score.cer:.1f} % on {score.split}" for score in scores) or (
        "unknown, for want of held-out transcripts"
    )
    blank = " (all blank: it recognised nothing)" if any(score.all_blank for score in scores) else ""
    return f"{cell.name}: {rate_name(config.finetune.tokens)} {rates}{blank}"
