"""Choose an encoder's layer without labels, by a criterion on held-out speech; and how far such choices fall short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speechunits.audio.manifest import Recording
from speechunits.config import UnitsConfig
from speechunits.evaluation.criteria import MEASURED, criterion_values, needed
from speechunits.evaluation.layers import LayerScores, measure_layers
from speechunits.units.extract import OnFault

CRITERIA = (*MEASURED, "combined")
Judge = Literal["pnmi", "abx"]
"""What says, with phones, how good a layer is."""


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """The layer chosen, and what each was chosen on."""

    layer: int
    criterion: str
    scores: Mapping[str, list[float]]
    """What was measured, by layer."""

    def to_tree(self) -> dict[str, Any]:
        """Return the choice as plain numbers, for a quality card."""
        return {"layer": self.layer, "criterion": self.criterion, "scores": dict(self.scores)}


def select_layer(
    encoder: Path,
    train: Sequence[Recording],
    tune: Sequence[Recording],
    config: UnitsConfig,
    *,
    on_fault: OnFault | None = None,
) -> LayerChoice:
    """Fit ``config.clusters`` units on every layer at once and take the best layer by ``config.criterion``.

    Streamed in bounded memory, and over less than an hour of train, in a seeded order. Of equally good
    layers the first is taken.

    Raises
    ------
    UsageError
        If ``tune`` is empty, train has fewer frames than clusters, or the criterion needs speakers that are not known.
    """
    found = measure_layers(encoder, train, tune, config, needed(config.criterion), on_fault=on_fault)
    values = criterion_values(found.scores, config.criterion)
    return LayerChoice(layer=int(np.argmax(values)), criterion=config.criterion, scores=found.scores)


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What a criterion's choice of layer costs."""

    chosen: int
    regret: float
    """How much better the best layer is than the chosen one: PNMI, or ABX error, as a share."""


def regrets(measured: LayerScores, judge: Judge = "pnmi") -> dict[str, Regret]:
    """Return the regret of every criterion that could be measured, and of two rules that measure nothing.

    ``middle`` always takes the middle layer, ``last`` the last: a criterion that does not beat them is worth nothing.
    """
    worth = measured.pnmi if judge == "pnmi" else [-error for error in measured.abx]
    best, count = max(worth), len(worth)
    choices = {"middle": count // 2, "last": count - 1}
    for criterion in CRITERIA:
        if set(needed(criterion)) <= set(measured.scores):
            choices[criterion] = int(np.argmax(criterion_values(measured.scores, criterion)))
    return {name: Regret(chosen=layer, regret=best - worth[layer]) for name, layer in choices.items()}
