"""The labelled-data reduction factor: how many times fewer labels the pretraining saved (docs/protocol.md).

For seed s and budget b of the pretrained side, with dev CER e: f_s = n_scratch(e) / b, where n_scratch is the isotonic
interpolation of the baseline's CER over ln minutes. The headline is exp(mean_s ln f_s).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speechunits.config import ReductionConfig
from speechunits.evaluation.curves import Baseline, Measurements, PointSummary, choose_baseline, summarize
from speechunits.evaluation.isotonic import Array, decreasing_fit, first_crossing
from speechunits.evaluation.score import Score

MAX_CER = 0.5
"""A pretrained recogniser worse than this has learnt too little for a factor to mean anything."""


@dataclass(frozen=True, kw_only=True)
class SeedFactor:
    """ln f of one seed, or where it is cut off."""

    seed: int
    cer: float
    factor: float
    """n_scratch / b; at the end of the baseline's range where censored."""
    censored: Literal["", "above", "below"]
    """``above``: the baseline never reaches the CER; ``below``: its smallest budget already does."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The reduction factor at one budget of the pretrained side."""

    minutes: float
    """Budget; what ``all`` really held."""
    label: str
    """``4``, ``all``."""
    factor: float | None
    """exp(mean ln f); None where undefined, or where seeds are cut off."""
    low: float | None
    """Lower 95 % limit; with seeds censored above, the only thing known."""
    high: float | None
    """Upper 95 % limit; with seeds censored below, the only thing known."""
    seeds: tuple[SeedFactor, ...]
    reason: str
    """Why there is no factor, or no interval; empty otherwise."""

    def __str__(self) -> str:
        """Return the cell as tables print it: ``4.2 (2.9–6.1)``, ``> 3.1``, ``undefined``."""
        if self.factor is not None:
            low, high = self.low, self.high
            interval = f" ({_times(low)}–{_times(high)})" if low is not None and high is not None else ""
            return f"{_times(self.factor)}{interval}"
        if self.low is not None:
            return f"> {_times(self.low)}"
        return f"< {_times(self.high)}" if self.high is not None else "undefined"


def _times(factor: float) -> str:
    """Return a factor with one decimal, with two digits below 1: ``> 0.0`` would say nothing."""
    return f"{factor:.1f}" if factor >= 1 else f"{factor:.2g}"


@dataclass(frozen=True, kw_only=True)
class ReductionTable:
    """Every number of a sweep."""

    points: tuple[PointSummary, ...]
    """CER of every side and budget."""
    baseline: Baseline
    cells: tuple[Cell, ...]
    headline: Cell | None
    """The cell at the fixed headline budget; None if it was not trained."""
    statement: str
    """The result in one sentence, or why there is none."""
    notes: tuple[str, ...]
    """What a reader must know: a baseline missing, runs missing."""


def reduction(
    scores: Sequence[Score],
    config: ReductionConfig,
    *,
    split: str = "dev",
    lm: str = "",
    compute: Literal["", "equal"] = "",
    smoke: bool = False,
    seed: int = 0,
) -> ReductionTable:
    """Return the reduction table of a sweep's scores on ``split`` and on ``tune`` (which chooses between baselines).

    Only scores decoded with ``lm`` count, and of the baselines those of ``compute``. ``seed`` seeds the resamples of
    utterances.

    Raises
    ------
    ValueError
        If scores of one split are not about the same utterances, or a run is there twice.
    """
    scores = [score for score in scores if score.lm == lm]
    scores = [score for score in scores if score.compute == ("" if score.side == "pretrained" else compute)]
    reported = Measurements([score for score in scores if score.split == split])
    tune = Measurements([score for score in scores if score.split == "tune"])
    baseline = choose_baseline(reported, tune)
    resamples = reported.resampled_rates(config.bootstrap, np.random.default_rng(seed))
    cells = tuple(
        _cell(label, budget, reported, baseline, resamples) for label, budget in reported.budgets("pretrained")
    )
    # The mean over seeds of a budget need not be it to the last bit; its name is.
    headline = next((cell for cell in cells if cell.label == f"{config.headline_minutes:g}"), None)
    return ReductionTable(
        points=summarize(reported, tune),
        baseline=baseline,
        cells=cells,
        headline=headline,
        statement=_statement(headline, config, smoke=smoke),
        notes=baseline.notes,
    )


def _cell(label: str, minutes: float, measured: Measurements, baseline: Baseline, resamples: Array) -> Cell:
    runs = measured.runs("pretrained", label)
    rates = {run.seed: measured.rates[run.index] for run in runs}
    reason = baseline.reason
    worst = max(rates.values())
    if not reason and worst > MAX_CER:
        reason = f"a pretrained recogniser has an error rate of {100 * worst:.0f} %, above {100 * MAX_CER:.0f} %"
    if reason:
        return Cell(minutes=minutes, label=label, factor=None, low=None, high=None, seeds=(), reason=reason)
    positions = np.log(np.array([budget for _, budget in baseline.budgets]))
    seeds, logs = [], []
    for run in runs:
        # Row 0 is the measurement itself; the resamples follow: one path, so that neither can differ from the other.
        curve = np.stack([measured.seed_average(side, name, run.seed, resamples) for name, side in baseline.chosen], -1)
        level = np.concatenate([[measured.rates[run.index]], resamples[:, run.index]])
        fit = decreasing_fit(curve)
        log_factors = first_crossing(positions, fit, level) - math.log(minutes)
        censored: Literal["", "above", "below"] = ""
        if fit[0, -1] > level[0]:
            censored = "above"
        elif fit[0, 0] <= level[0]:
            censored = "below"
        factor = float(np.exp(log_factors[0]))
        seeds.append(SeedFactor(seed=run.seed, cer=float(level[0]), factor=factor, censored=censored))
        logs.append(log_factors)
    return _combine(minutes, label, tuple(seeds), np.stack(logs))


def _combine(minutes: float, label: str, seeds: tuple[SeedFactor, ...], logs: Array) -> Cell:
    """Join the seeds' ``(n, 1 + resamples)`` ln f: mean ± t(.975, n − 1) √(s² / n + Var_boot), exponentiated."""
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second, for one number

    count = len(seeds)
    mean = float(logs[:, 0].mean())
    kinds = {seed.censored for seed in seeds} - {""}
    if len(kinds) == 2:
        reason = "the baseline never reaches the error rate of some seeds, and starts below that of others"
        return Cell(minutes=minutes, label=label, factor=None, low=None, high=None, seeds=seeds, reason=reason)
    margin: float | None = None
    if count > 1:
        variance = logs[:, 0].var(ddof=1) / count
        if logs.shape[1] > 2:
            variance += logs[:, 1:].mean(axis=0).var(ddof=1)
        margin = float(stdtrit(count - 1, 0.975) * math.sqrt(variance))
    low = high = None
    if margin is not None:
        low, high = math.exp(mean - margin), math.exp(mean + margin)
    if not kinds:
        reason = "" if margin is not None else "one seed: no interval"
        return Cell(minutes=minutes, label=label, factor=math.exp(mean), low=low, high=high, seeds=seeds, reason=reason)
    above = kinds == {"above"}
    reason = (
        "the baseline never reaches this error rate with the labels it had (lower limit only)"
        if above
        else "the baseline's smallest budget is already as good (upper limit only)"
    )
    if margin is None:
        # Without a second seed nothing is known of the spread: the limit is where the measurement was cut off.
        low = high = math.exp(mean)
        reason += "; one seed: without its uncertainty"
    return Cell(
        minutes=minutes, label=label, factor=None,
        low=low if above else None, high=None if above else high, seeds=seeds, reason=reason,
    )  # fmt: skip


def _statement(headline: Cell | None, config: ReductionConfig, *, smoke: bool) -> str:
    budget = f"{config.headline_minutes:g} min of labels"
    if smoke:
        return "too small to measure a factor"
    if headline is None:
        return f"no factor: the pretrained side was not trained on the headline budget, {budget}"
    if headline.factor is None and headline.low is None and headline.high is None:
        return f"the factor at {budget} is undefined: {headline.reason}"
    low, high = headline.low, headline.high
    if headline.factor is None:
        limit = f"at least a factor of {_times(low)}" if low is not None else f"at most a factor of {_times(high or 0)}"
        return f"at {budget}, pretraining saves {limit}: {headline.reason}"
    interval = headline.reason
    if low is not None and high is not None:
        interval = f"95 % interval {_times(low)} to {_times(high)}"
    return f"at {budget}, pretraining saves a factor of {_times(headline.factor)} ({interval})"
