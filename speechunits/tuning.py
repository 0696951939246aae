"""The tuning trials of a sweep: every side tries the same values, and is judged on ``tune`` alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from speechunits.cell import Cell, summarised, trials
from speechunits.evaluation.score import Score, Side
from speechunits.run import read_json, write_json
from speechunits.sweep import FIELDS, Setting, cell_key, run_cells

Tried = Mapping[Side, list[dict[str, Any]]]
"""A side's trials: ``dropout``, ``lr``, ``tune_cer``, ``key``, and which was ``chosen``: the first of the best."""


def tune(setting: Setting) -> tuple[Setting, Tried]:
    """Return the setting in which every side has what it chose, and all trials; nothing to try changes nothing.

    Trials of the same key that are published are not made again. The chosen one is a cell of the sweep, too.
    """
    todo = trials(setting.config)
    if not todo:
        return setting, {}
    keys = {cell: cell_key(cell, setting) for cell in todo}
    rates = {**_published(setting), **_tried(setting, keys)}
    tried: dict[Side, list[dict[str, Any]]] = {}
    chosen: dict[str, Any] = {}
    for side, cells in _by_side(todo):
        candidates = setting.config.tuning.candidates(getattr(setting.config, FIELDS[side]))
        best = min(cells, key=lambda cell: rates[keys[cell]])
        tried[side] = [
            {"dropout": config.dropout, "lr": config.optimizer.lr, "tune_cer": rates[keys[cell]], "key": keys[cell],
             "chosen": cell is best}
            for cell, config in zip(cells, candidates, strict=True)
        ]  # fmt: skip
        chosen[FIELDS[side]] = candidates[cells.index(best)]
        _adopt(best, setting, keys[best])
    return replace(setting, config=replace(setting.config, **chosen)), tried


def _by_side(todo: list[Cell]) -> Iterator[tuple[Side, list[Cell]]]:
    for side in dict.fromkeys(cell.side for cell in todo):
        yield side, [cell for cell in todo if cell.side == side]


def _published(setting: Setting) -> dict[str, float]:
    tried: Tried = setting.published.get("tuning", {})
    return {trial["key"]: trial["tune_cer"] for side in tried.values() for trial in side}


def _tried(setting: Setting, keys: Mapping[Cell, str]) -> dict[str, float]:
    """Run the trials that are not published; return their CER on ``tune`` by key."""
    published = _published(setting)
    todo = [cell for cell, key in keys.items() if key not in published]
    found: dict[str, float] = {}
    for cell, scores in run_cells(todo, setting):
        found[keys[cell]] = _tune_cer(scores)
        print(f"{summarised(cell, scores)}; {len(found)} of {len(todo)} trials", file=sys.stderr, flush=True)
    return found


def _tune_cer(scores: list[Score]) -> float:
    return next(score.cer for score in scores if score.split == "tune")


def _adopt(trial: Cell, setting: Setting, key: str) -> None:
    """Keep the chosen trial as the cell of the sweep that it is, with its posteriors."""
    cell = replace(trial, trial=None)
    made, kept = (setting.folder / f"{each.name}.json" for each in (trial, cell))
    if made.exists() and not (kept.exists() and read_json(kept)["key"] == key):
        shutil.copytree(setting.folder / trial.name, setting.folder / cell.name, dirs_exist_ok=True)
        write_json(kept, read_json(made))
