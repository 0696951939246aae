"""The results of a sweep while it runs: the cells there are, written for an early look after each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechunits.cell import Cell
from speechunits.config import RecipeConfig
from speechunits.evaluation.score import Score, scores_to_json
from speechunits.run import provenance, write_json
from speechunits.sweep import Setting, cell_key, kept_scores
from speechunits.tuning import Tried


@dataclass(kw_only=True)
class SweepResults:
    """What becomes ``results.json`` (docs/formats.md)."""

    recipe: RecipeConfig
    todo: Sequence[Cell]
    path: Path
    """``unfinished.json``."""
    tried: Tried = field(default_factory=dict)
    scores: dict[Cell, list[Score]] = field(default_factory=dict)
    _keys: dict[Cell, str] = field(default_factory=dict)

    def tuned(self, setting: Setting, tried: Tried) -> None:
        """Take in the trials so far, and what is kept of the cells of each budget that has chosen its settings."""
        self.tried = tried
        for cell in self.todo:
            if (cell.side, cell.minutes) in setting.chosen and cell not in self.scores:
                key = cell_key(cell, setting)
                kept = kept_scores(cell, setting, key)
                if kept is not None:
                    self.scores[cell], self._keys[cell] = kept, key
        if self.scores:
            write_json(self.path, self.tree())

    def add(self, cell: Cell, scores: list[Score], setting: Setting) -> None:
        """Take in a finished cell."""
        self.scores[cell], self._keys[cell] = scores, cell_key(cell, setting)
        write_json(self.path, self.tree())

    def tree(self) -> dict[str, Any]:
        """Return what is written, the cells in their order."""
        done = [cell for cell in self.todo if cell in self.scores]
        return {
            "provenance": provenance(self.recipe, self.recipe.corpus.manifest),
            "trials": {cell.side: self._trials(cell) for cell in done},
            "tuning": self.tried,
            "keys": {cell.name: self._keys[cell] for cell in done},
            "unfinished": len(self.todo) - len(done),
            "scores": scores_to_json([score for cell in done for score in self.scores[cell]]),
        }

    def _trials(self, cell: Cell) -> int:
        """Return how many settings the side of a cell tries at its budget: its own alone where none are named."""
        return sum(trial["minutes"] == cell.minutes for trial in self.tried.get(cell.side, ())) or 1


def audio_hours(saved: Mapping[str, Any]) -> float | None:
    """Return the audio-hours that every training of saved results heard; None where an earlier version did not say."""
    try:
        return float(saved["provenance"]["config"]["reduction"]["finetune"]["budget"]["hours"])
    except (KeyError, TypeError):
        return None
