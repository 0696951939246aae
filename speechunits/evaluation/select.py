"""Choose an encoder's layer without labels, by a criterion on held-out speech; and how far such choices fall short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speechunits.audio.manifest import Recording
from speechunits.config import UnitsConfig
from speechunits.errors import UsageError
from speechunits.evaluation.criteria import MEASURED, criterion_values, needed
from speechunits.evaluation.layers import Choice, LayerScores, first_layer, measure_layers
from speechunits.units.extract import OnFault

CRITERIA = (*MEASURED, "combined")
SIZES = (50, 100, 200)
"""Numbers of units that are compared where none are named; PNMI is not to be trusted beyond 256."""
CLUSTERS_CRITERION = "view_information"
"""Bits of a unit that survive alterations of the sound: unlike predictability it does not grow with K for ever."""
Judge = Literal["pnmi", "abx"]
"""What says, with phones, how good a layer is."""


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """The layer chosen, and what each was chosen on."""

    layer: int
    criterion: str
    scores: Mapping[str, list[float]]
    """What was measured, by layer; with ``units.latents`` the front end's output comes before layer 0."""

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
    best = first_layer(config) + int(np.argmax(values))
    return LayerChoice(layer=best, criterion=config.criterion, scores=found.scores)


@dataclass(frozen=True, kw_only=True)
class ClustersChoice:
    """The number of units chosen, and what each was chosen on."""

    clusters: int
    criterion: str
    sizes: tuple[int, ...]
    scores: Mapping[str, list[float]]
    """What was measured, by size."""

    def to_tree(self) -> dict[str, Any]:
        """Return the choice as plain numbers."""
        return {
            "clusters": self.clusters, "criterion": self.criterion, "sizes": list(self.sizes),
            "scores": dict(self.scores),
        }  # fmt: skip


def select_clusters(
    encoder: Path,
    train: Sequence[Recording],
    tune: Sequence[Recording],
    config: UnitsConfig,
    sizes: Sequence[int] = SIZES,
    *,
    on_fault: OnFault | None = None,
) -> ClustersChoice:
    """Fit units of several numbers on ``config.layer`` at once and take the best by ``CLUSTERS_CRITERION``.

    Of equally good numbers the smallest is taken.

    Raises
    ------
    UsageError
        If there are no sizes, the layer is no number of the encoder's, ``tune`` is empty, or train has too few frames.
    """
    if not sizes or min(sizes) < 2 or not isinstance(config.layer, int):
        raise UsageError(
            f"choosing the number of clusters needs sizes of at least 2 and a layer, but has {list(sizes)} and layer "
            f"{config.layer!r} instead"
        )
    ordered = tuple(sorted(set(sizes)))
    choices = [Choice(config.layer, size) for size in ordered]
    found = measure_layers(encoder, train, tune, config, needed(CLUSTERS_CRITERION), choices=choices, on_fault=on_fault)
    best = int(np.argmax(criterion_values(found.scores, CLUSTERS_CRITERION)))
    return ClustersChoice(clusters=ordered[best], criterion=CLUSTERS_CRITERION, sizes=ordered, scores=found.scores)


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
