"""The curve behind the reduction factor, as a PNG."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.evaluation.isotonic import decreasing_fit
from speechunits.evaluation.reduction import ReductionTable
from speechunits.report.tables import SIDES
from speechunits.run import atomic_path

RATES = {"CER": "character error rate", "PER": "phone error rate"}
# Okabe & Ito's palette: told apart without red and green.
_STYLE = {
    "pretrained": ("#0072B2", "o"),
    "untrained": ("#999999", "s"),
    "logmel": ("#D55E00", "^"),
    "units": ("#009E73", "D"),
}


def plot_reduction(table: ReductionTable, path: Path, rate: str = "CER") -> None:
    """Draw CER over minutes of labels, every side and seed, and the factor at the headline budget as an arrow.

    ``rate`` is what error rates are called: CER, or PER where phones are recognised.
    """
    # The figure is made without pyplot, which keeps global state and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_reduction(axes, table, rate)
    axes.set_title(_wrapped(table.statement), fontsize=9.5, loc="left")
    with atomic_path(path) as temporary:
        # Without the date and version that matplotlib adds, the same results give the same bytes.
        figure.savefig(temporary, metadata={"Software": None})


def draw_reduction(axes: Any, table: ReductionTable, rate: str = "CER", *, ink: str = "black") -> None:
    """Draw the curve on matplotlib axes; ``ink`` is the colour of words and arrows."""
    for side, (color, marker) in _STYLE.items():
        points = [point for point in table.points if point.side == side]
        if not points:
            continue
        minutes = [point.minutes for point in points]
        axes.plot(
            minutes, [100 * point.cer for point in points],
            color=color, marker=marker, label=SIDES[points[0].side], zorder=3,
        )  # fmt: skip
        for point in points:
            axes.scatter([point.minutes] * len(point.cers), [100 * cer for cer in point.cers],
                         color=color, marker=marker, s=14, alpha=0.45, linewidths=0)  # fmt: skip
    _draw_baseline(axes, table, ink)
    _draw_factor(axes, table, ink)
    _label(axes, table)
    axes.set_ylabel(f"{RATES[rate]} (%)")


def _curve(table: ReductionTable) -> tuple[list[float], list[float]]:
    """Return minutes and isotonic CER (percent) of the better baseline at each budget."""
    rates = {(point.side, point.label): point.cer for point in table.points}
    minutes = dict(table.baseline.budgets)
    labels = [label for label, _ in table.baseline.chosen]
    fit = decreasing_fit(np.array([rates[side, label] for label, side in table.baseline.chosen]))
    return [minutes[label] for label in labels], [100 * rate for rate in fit.tolist()]


def _draw_baseline(axes: Any, table: ReductionTable, ink: str) -> None:
    if table.baseline.chosen:
        minutes, rates = _curve(table)
        axes.plot(minutes, rates, color=ink, linewidth=7, alpha=0.12, solid_capstyle="round",
                  label="baseline: the better one, isotonic", zorder=1)  # fmt: skip


def _draw_factor(axes: Any, table: ReductionTable, ink: str) -> None:
    """Draw a level arrow from the headline cell to where the baseline is as good (or to its end)."""
    cell = table.headline
    if cell is None or not cell.seeds or not table.baseline.chosen:
        return
    start = cell.minutes
    level = 100 * float(np.mean([seed.cer for seed in cell.seeds]))
    end = start * float(np.exp(np.mean([np.log(seed.factor) for seed in cell.seeds])))
    axes.annotate("", xy=(end, level), xytext=(start, level),
                  arrowprops={"arrowstyle": "->", "color": ink, "linewidth": 1.6, "shrinkA": 5, "shrinkB": 0},
                  zorder=4)  # fmt: skip
    # The words may lie across the baseline.
    ground = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.annotate(f"{cell} times fewer labels", xy=(start, level), xytext=(9, 6), textcoords="offset points", color=ink,
                  bbox=ground, zorder=5)  # fmt: skip


def _label(axes: Any, table: ReductionTable) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator  # noqa: PLC0415

    ticks = {point.minutes: point.label for point in table.points}
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlabel("minutes of labels")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")  # "best" warns on slow machines


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text[:1].upper() + text[1:], 92))
