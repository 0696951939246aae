"""The tuning trials of a sweep: at every budget all sides try the same values, and are judged on ``tune`` alone."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from speechunits.cell import Cell, summarised, trials
from speechunits.config import FIELDS
from speechunits.evaluation.score import Score, Side
from speechunits.setting import Setting
from speechunits.sweep import cell_key, kept_scores, run_cells

Tried = dict[Side, list[dict[str, Any]]]
"""A side's trials: ``minutes``, ``dropout``, ``lr``, ``masks`` (of time, of channels), ``audio_hours``, ``tune_cer``,
``key``, and whether it was ``chosen``, the first of the best at its budget."""


def tune(setting: Setting, only: Cell | None = None) -> Iterator[tuple[Setting, Tried]]:
    """Yield the setting with what has been chosen so far, and the trials behind it, after every trial.

    What comes last is the whole of it; where there is nothing to try, the setting as it is. Trials of the same key that
    are published are not made again. The chosen ones are cells of the sweep, too, where they last as long. With
    ``only``, nothing but what that cell's side and budget try.
    """
    keys = {
        cell: cell_key(cell, setting) for cell in trials(setting.config)
        if only is None or (cell.side, cell.minutes) == (only.side, only.minutes)
    }  # fmt: skip
    first = {key: cell for cell, key in reversed(keys.items())}
    groups = [list(group) for _, group in itertools.groupby(keys, key=lambda cell: (cell.side, cell.minutes))]
    rates = {
        trial["key"]: trial["tune_cer"]
        for published in setting.published for side in published.get("tuning", {}).values() for trial in side
    }  # fmt: skip
    # What is kept comes first, so that an early look has all of it.
    rates |= {key: _tune_cer(kept) for cell, key in keys.items() if (kept := kept_scores(cell, setting, key))}
    # Values that come to the same settings (two shares of two masks, say) are one training.
    todo = [cell for cell, key in keys.items() if key not in rates and cell == first[key]]
    yield _chosen(setting, groups, keys, rates)
    for number, (cell, scores) in enumerate(run_cells(todo, setting), start=1):
        rates[keys[cell]] = _tune_cer(scores)
        print(
            f"{summarised(cell, scores, setting.config)}; {number} of {len(todo)} trials", file=sys.stderr, flush=True
        )
        yield _chosen(setting, groups, keys, rates)


def _chosen(
    setting: Setting, groups: list[list[Cell]], keys: Mapping[Cell, str], rates: Mapping[str, float]
) -> tuple[Setting, Tried]:
    """Return the choices of the groups whose trials are all there."""
    tried: Tried = {}
    chosen: dict[tuple[Side, float | None], int] = {}
    for group in groups:
        if not all(keys[cell] in rates for cell in group):
            continue
        side, minutes = group[0].side, group[0].minutes
        best = min(group, key=lambda cell: rates[keys[cell]])
        chosen[side, minutes] = group.index(best)
        own = getattr(setting.config, FIELDS[side])
        configs = [setting.config.tuning.trial(number, own) for number in range(len(group))]
        tried.setdefault(side, []).extend(
            {"minutes": minutes, "dropout": config.dropout, "lr": config.optimizer.lr,
             "masks": [config.augment.time_masks, config.augment.channel_masks],
             "audio_hours": config.budget.hours, "tune_cer": rates[keys[cell]], "key": keys[cell],
             "chosen": cell is best}
            for cell, config in zip(group, configs, strict=True)
        )  # fmt: skip
    return replace(setting, chosen=chosen), tried


def _tune_cer(scores: list[Score]) -> float:
    return next(score.cer for score in scores if score.split == "tune")
