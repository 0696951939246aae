"""The results of a sweep: written after each of its cells, found again, and shown as the table and the curve."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from speechunits import sweep
from speechunits.cell import Cell, summarised, trials
from speechunits.config import RecipeConfig
from speechunits.errors import UsageError
from speechunits.evaluation.score import Score, Side, rate_name, scores_from_json, scores_to_json
from speechunits.progress import seconds_text
from speechunits.report.tables import reduction_markdown
from speechunits.run import provenance, read_json, write_json, write_text
from speechunits.setting import Setting
from speechunits.tuning import Tried


@dataclass(kw_only=True)
class SweepResults:
    """What becomes ``results.json`` (docs/formats.md)."""

    recipe: RecipeConfig
    todo: Sequence[Cell]
    path: Path
    """``unfinished.json``."""
    encoder: Mapping[str, Any]
    tried: Tried = field(default_factory=dict)
    scores: dict[Cell, list[Score]] = field(default_factory=dict)
    _keys: dict[Cell, str] = field(default_factory=dict)
    _wall_s: dict[Cell, float | None] = field(default_factory=dict)

    def tuned(self, setting: Setting, tried: Tried) -> None:
        """Take in the trials so far, and what is kept of the cells of each budget that has nothing left to choose."""
        self.tried = tried
        untried = not trials(setting.config)
        for cell in self.todo:
            if (untried or (cell.side, cell.minutes) in setting.chosen) and cell not in self.scores:
                key = sweep.cell_key(cell, setting)
                kept = sweep.kept_scores(cell, setting, key)
                if kept is not None:
                    self.scores[cell], self._keys[cell] = kept, key
                    self._wall_s[cell] = sweep.kept_wall_s(cell, setting, key)
        if self.scores:
            write_json(self.path, self.tree())

    def add(self, cell: Cell, scores: list[Score], setting: Setting) -> None:
        """Take in a finished cell."""
        if cell not in self._keys:
            self._keys[cell] = sweep.cell_key(cell, setting)
        self.scores[cell] = scores
        self._wall_s[cell] = sweep.kept_wall_s(cell, setting, self._keys[cell])
        write_json(self.path, self.tree())

    def fill(self, part: Sequence[Cell], setting: Setting) -> None:
        """Train some of the sweep's cells, or find them kept, and say how many are still to come."""
        trained, started = 0, time.monotonic()
        for cell, scores in sweep.run_cells(part, setting):
            # Cells of an earlier run come at once: they say nothing about those to be trained.
            trained += cell not in self.scores
            self.add(cell, scores, setting)
            ahead, count = sum(cell not in self.scores for cell in self.todo), len(self.todo)
            left = f", about {seconds_text((time.monotonic() - started) / trained * ahead)} left" if trained else ""
            said = summarised(cell, scores, setting.config)
            print(f"{said}; {count - ahead} of {count} trainings{left}", file=sys.stderr, flush=True)

    def listed(self) -> list[Score]:
        """Return the scores so far, in the order of their cells."""
        return [score for cell in self.todo for score in self.scores.get(cell, ())]

    def tree(self) -> dict[str, Any]:
        """Return what is written, the cells in their order."""
        done = [cell for cell in self.todo if cell in self.scores]
        return {
            "provenance": provenance(self.recipe, self.recipe.corpus.manifest),
            "trials": {cell.side: self._trials(cell) for cell in done},
            "tuning": self.tried,
            "keys": {cell.name: self._keys[cell] for cell in done},
            "wall_s": {cell.name: seconds for cell in done if (seconds := self._wall_s[cell]) is not None},
            "encoder": self.encoder,
            "unfinished": self._unfinished(),
            "scores": scores_to_json(self.listed()),
        }

    def _unfinished(self) -> int:
        """Return how many trainings are to come, trials among them; the one that is chosen is a cell's, too."""
        reduction = self.recipe.reduction
        tried = {(side, trial["minutes"]) for side, rows in self.tried.items() for trial in rows}
        untried = [trial for trial in trials(reduction) if (trial.side, trial.minutes) not in tried]
        shared = {replace(trial, trial=None) for trial in untried} if reduction.tuning.hours is None else set()
        return len(untried) + sum(cell not in self.scores and cell not in shared for cell in self.todo)

    def _trials(self, cell: Cell) -> int:
        """Return how many settings the side of a cell tries at its budget: its own alone where none are named."""
        return sum(trial["minutes"] == cell.minutes for trial in self.tried.get(cell.side, ())) or 1


def audio_hours(saved: Mapping[str, Any]) -> float | None:
    """Return the audio-hours that every training of saved results heard; None where an earlier version did not say."""
    hours = _finetuning(saved).get("budget", {}).get("hours")
    return None if hours is None else (1 + _rounds(saved)) * float(hours)


def mean_minutes(saved: Mapping[str, Any]) -> dict[Side, float]:
    """Return the minutes that a training of each side took on average, of those that were written down."""
    taken: dict[Side, list[float]] = {}
    for name, seconds in saved.get("wall_s", {}).items():
        taken.setdefault(name.partition("-")[0], []).append(seconds / 60)
    return {side: sum(minutes) / len(minutes) for side, minutes in taken.items()}


def _rounds(saved: Mapping[str, Any]) -> int:
    """Return how many rounds of self-training followed each training; every one heard the budget again."""
    return int(_finetuning(saved).get("self_training", {}).get("rounds", 0))


def _finetuning(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the pretrained side; none where an earlier version did not save them."""
    try:
        return dict(saved["provenance"]["config"]["reduction"]["finetune"])
    except (KeyError, TypeError, ValueError):
        return {}


def saved_results(recipe: RecipeConfig) -> Path:
    """Return the published results of a recipe, else those of its run, the finished ones first.

    Raises
    ------
    UsageError
        If there are none.
    """
    folders = Path("results") / recipe.name, recipe.runs / recipe.name
    places = [folder / name for folder in folders for name in ("results.json", "unfinished.json")]
    for place in places:
        if place.exists():
            print(f"from {place}", file=sys.stderr)
            return place
    raise UsageError(f"{places[0]} or {places[2]} must hold saved results, but neither is there; name the file "
                     "after --from-saved, or run the sweep: `speechunits reduction RECIPE.yaml`")  # fmt: skip


def show_reduction(results: Path, recipe: RecipeConfig, out: Path) -> None:
    """Compute the table from ``results.json`` alone; write and print it, and draw the curve.

    Raises
    ------
    UsageError
        If the file is not there, or no sweep's.
    """
    from speechunits.evaluation.reduction import reduction as compute  # noqa: PLC0415

    try:
        saved = read_json(results)
        scores = scores_from_json(saved["scores"])
        conditions = sorted({(score.lm, score.compute) for score in scores} - {("", "")})
        table, *others = (
            compute(scores, recipe.reduction, split=recipe.corpus.dev, lm=lm, compute=equal, smoke=recipe.smoke)
            for lm, equal in [("", ""), *conditions]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{results} must hold the results of a sweep, but cannot be read ({type(error).__name__}: {error}); name a "
            "results.json or unfinished.json that `speechunits reduction RECIPE.yaml` wrote"
        ) from error
    rate = rate_name(_finetuning(saved).get("tokens", ""))
    text = reduction_markdown(
        table, dict(zip(conditions, others, strict=True)), saved.get("tuning", {}), audio_hours(saved),
        rounds=_rounds(saved), rate=rate, minutes=mean_minutes(saved),
    )  # fmt: skip
    if saved.get("unfinished"):
        text += f"\nAn early look: {saved['unfinished']} trainings of the sweep are still to come.\n"
    write_text(out / "reduction.md", text)
    print(text)
    if find_spec("matplotlib") is None:
        print("no curve: matplotlib is not installed; `pip install 'speechunits[report]'` adds it", file=sys.stderr)
        return
    from speechunits.report.plots import plot_reduction  # noqa: PLC0415 - an optional dependency

    plot_reduction(table, out / "reduction.png", rate)
