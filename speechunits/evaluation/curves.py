"""CER over label budgets: the runs of a sweep, their resamples, and which baseline stands at each budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from speechunits.evaluation.isotonic import Array
from speechunits.evaluation.score import BASELINES, Score, Side, label_of

LEARNT_CER = 0.4
"""A baseline that is not below this at its largest budget has not learnt to recognise."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training among the measurements."""

    index: int
    """Column of the rates."""
    seed: int
    score: Score


@dataclass(frozen=True, kw_only=True)
class PointSummary:
    """One side at one budget."""

    side: Side
    label: str
    minutes: float
    cer: float
    """Mean over seeds on the reported split."""
    cers: tuple[float, ...]
    """Of each seed."""
    tune_cer: float | None
    all_blank: int
    """Seeds that recognised nothing at all."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The better of the two baselines at each budget, and whether the curve they make is valid."""

    budgets: tuple[tuple[str, float], ...]
    """Label and minutes of each budget, increasing."""
    chosen: tuple[tuple[str, Side], ...]
    """Label and side at each budget."""
    reason: str
    """Why no factor may be formed against it; empty if it is valid."""
    notes: tuple[str, ...]


class Measurements:
    """The scores of one split, over the same utterances.

    Raises
    ------
    ValueError
        If two scores are not about the same utterances, or a run is there twice.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        self.scores = list(scores)
        for score in self.scores[1:]:
            if score.hashes != self.scores[0].hashes or score.lengths != self.scores[0].lengths:
                raise ValueError(
                    f"all scores on {score.split!r} must be about the same utterances, but those of {score.side} at "
                    f"{label_of(score.minutes)} min, seed {score.seed}, differ; remake the results with one manifest"
                )
        keys = [(score.side, label_of(score.minutes), score.seed) for score in self.scores]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"a run must be scored once a split, but these are there twice: {sorted(twice)}")
        self.rates: Array = np.array([score.cer for score in self.scores])

    def runs(self, side: Side, label: str) -> list[Run]:
        """Return the runs of a side at a budget, by seed."""
        runs = [
            Run(index=index, seed=score.seed, score=score)
            for index, score in enumerate(self.scores)
            if score.side == side and label_of(score.minutes) == label
        ]
        return sorted(runs, key=lambda run: run.seed)

    def budgets(self, *sides: Side) -> list[tuple[str, float]]:
        """Return label and minutes of the budgets that any of the sides has, increasing."""
        minutes: dict[str, list[float]] = {}
        for score in self.scores:
            if score.side in sides:
                minutes.setdefault(label_of(score.minutes), []).append(score.budget)
        return sorted(((label, float(np.mean(held))) for label, held in minutes.items()), key=lambda item: item[1])

    def mean_rate(self, side: Side, label: str, seeds: Collection[int] | None = None) -> float | None:
        """Return the mean CER over the seeds (or ``seeds`` alone) of a side at a budget; None where there are none."""
        rates = [self.rates[run.index] for run in self.runs(side, label) if seeds is None or run.seed in seeds]
        return float(np.mean(rates)) if rates else None

    def shared_seeds(self, sides: Sequence[Side], label: str) -> set[int]:
        """Return the seeds that all these sides have at a budget."""
        return set[int].intersection(*({run.seed for run in self.runs(side, label)} for side in sides))

    def all_blank(self, side: Side, label: str) -> int:
        """Return how many seeds of a side at a budget are all-blank."""
        return sum(run.score.all_blank for run in self.runs(side, label))

    def resampled_rates(self, count: int, generator: np.random.Generator) -> Array:
        """Return the ``(count, runs)`` CERs over resamples of the utterances: the same draw for every run."""
        if not self.scores or not count:
            return np.zeros((0, len(self.scores)))
        errors = np.array([score.errors for score in self.scores], dtype=np.float64)
        lengths = np.array(self.scores[0].lengths, dtype=np.float64)
        size = len(lengths)
        rates = np.empty((count, len(self.scores)))
        for row in range(count):
            weights = np.bincount(generator.integers(size, size=size), minlength=size)
            # A draw of empty references only would divide by zero; it says nothing, so it counts as the measurement.
            total = float(weights @ lengths)
            rates[row] = errors @ weights / total if total else self.rates
        return rates

    def seed_average(self, side: Side, label: str, seed: int, resamples: Array) -> Array:
        """Return the ``(1 + resamples,)`` CERs of a side at a budget: measured first, then resampled.

        The run of the same seed (the same label list) if there is one, so that seeds stay independent; else the mean
        over the seeds that were trained.
        """
        runs = self.runs(side, label)
        columns = [run.index for run in runs if run.seed == seed] or [run.index for run in runs]
        table = np.concatenate([self.rates[None, columns], resamples[:, columns]])
        return np.asarray(table.mean(axis=1))


def choose_baseline(reported: Measurements, tune: Measurements) -> Baseline:
    """Return at each budget the baseline with the lower mean ``tune`` CER, and whether the curve is valid.

    The mean is over the seeds that both have. Invalid, so that a broken baseline cannot win: all-blank (half of its
    seeds or more) at half its budgets or more, or not below 40 % CER at its largest. Without scores on ``tune`` the
    reported split would be chosen on: refused.
    """
    budgets = reported.budgets(*BASELINES)
    chosen: list[tuple[str, Side]] = []
    notes = [
        f"baseline {side!r} was not trained: the factor is against the other one only"
        for side in BASELINES
        if budgets and not reported.budgets(side)
    ]
    for label, _ in budgets:
        present = [side for side in BASELINES if reported.runs(side, label)]
        seeds = tune.shared_seeds(present, label)
        rates = {side: tune.mean_rate(side, label, seeds) for side in present}
        scored = {side: rate for side, rate in rates.items() if rate is not None}
        if len(present) > 1 and len(scored) < len(present):
            return Baseline(
                budgets=tuple(budgets), chosen=(), notes=tuple(notes),
                reason=f"the baselines at {label} min have no seed with scores of both on tune to choose by",
            )  # fmt: skip
        chosen.append((label, min(scored or present, key=lambda side: scored.get(side, 0.0))))
    return Baseline(
        budgets=tuple(budgets), chosen=tuple(chosen), reason=_fault(reported, chosen), notes=tuple(notes)
    )  # fmt: skip


def _fault(reported: Measurements, chosen: Sequence[tuple[str, Side]]) -> str:
    if not chosen:
        return "no baseline was trained"
    blank = sum(
        2 * reported.all_blank(side, label) >= len(reported.runs(side, label)) for label, side in chosen
    )  # fmt: skip
    if 2 * blank >= len(chosen):
        return f"the baseline is all-blank at {blank} of its {len(chosen)} budgets"
    label, side = chosen[-1]
    rate = reported.mean_rate(side, label)
    largest = "all labels" if label == "all" else f"{label} min"
    if rate is None or rate >= LEARNT_CER:
        shown = "unknown" if rate is None else f"{100 * rate:.0f} % instead"
        limit = f"{100 * LEARNT_CER:.0f} %"
        return f"the baseline's error rate at its largest budget ({largest}) must be below {limit}, but is {shown}"
    return ""


def summarize(reported: Measurements, tune: Measurements) -> tuple[PointSummary, ...]:
    """Return the CER of every side and budget."""
    sides: tuple[Side, ...] = get_args(Side)
    return tuple(
        PointSummary(
            side=side,
            label=label,
            minutes=minutes,
            cer=float(np.mean(cers)),
            cers=cers,
            tune_cer=tune.mean_rate(side, label),
            all_blank=reported.all_blank(side, label),
        )
        for side in sides
        for label, minutes in reported.budgets(side)
        if (cers := tuple(float(reported.rates[run.index]) for run in reported.runs(side, label)))
    )
