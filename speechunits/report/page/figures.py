"""The page's figures: learning curves against chance, the heat map of units and phones, durations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechunits.evaluation.reduction import ReductionTable
from speechunits.report.page.study import Study
from speechunits.report.page.svg import INK, inline_svg, make_figure, plain_axes
from speechunits.report.plots import RATES, draw_reduction

Metrics = Sequence[dict[str, Any]]
# Okabe & Ito's palette, the colours that are seen on white and on black.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def reduction_figure(table: ReductionTable, rate: str = "CER") -> str:
    """Return the curve behind the factor."""
    figure = make_figure(7.6, 4.4)
    axes = figure.add_subplot()
    draw_reduction(axes, table, rate, ink=INK)
    plain_axes(axes)
    text = f"{RATES[rate].capitalize()} over minutes of labels; the table below has the same."
    return inline_svg(figure, "reduction", text)


def learning_figure(passes: Sequence[tuple[str, Metrics]]) -> str | None:
    """Return loss and chance, and bits, on held-out speech over hours of audio seen; None without an evaluation."""
    held = [(name, [row for row in rows if row.get("kind") == "held_out" and _number(row, "audio_hours") is not None])
            for name, rows in passes]  # fmt: skip
    trained = [[row for row in rows if row.get("kind") == "train"] for _, rows in passes]
    if not any(rows for _, rows in held):
        return None
    figure = make_figure(7.6, 3.4)
    losses, bits = figure.subplots(1, 2)
    for index, ((name, rows), training) in enumerate(zip(held, trained, strict=True)):
        color, tail = _COLORS[index % len(_COLORS)], f", {name}" if name else ""
        _line(losses, training, "loss_bits", f"training{tail}", color=color, alpha=0.45, linewidth=1)
        _line(losses, rows, "loss_bits", f"held out{tail}", color=color, marker="o", markersize=4)
        _line(losses, rows, "chance_bits", f"chance{tail}", color=color, linestyle=":")
        _line(bits, rows, "bits", f"chance − loss{tail}", color=color, marker="o", markersize=4)
    for axes, label in ((losses, "loss (bits)"), (bits, "bits about the targets")):
        axes.set_xlabel("hours of audio seen")
        axes.set_ylabel(label)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
        plain_axes(axes)
    bits.set_ylim(bottom=min(0, bits.get_ylim()[0]))
    return inline_svg(figure, "learning", "Loss on held-out speech beside chance, and their difference.")


def _line(axes: Any, rows: Metrics, key: str, label: str, **style: Any) -> None:
    points = [(row["audio_hours"], row[key]) for row in rows
              if _number(row, key) is not None and _number(row, "audio_hours") is not None]  # fmt: skip
    if points:
        axes.plot(*zip(*points, strict=True), label=label, **style)


def _number(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def heat_map(study: Study) -> str | None:
    """Return P(phone | unit), units sorted by their most frequent phone; None where no phone is known."""
    labels, table = study.table()
    used = np.flatnonzero(table.sum(axis=0)) if len(labels) else np.zeros(0, np.int64)
    if not len(used):
        return None
    shares = table[:, used] / table[:, used].sum(axis=0)
    best = shares.argmax(axis=0)
    order = np.lexsort((-shares.max(axis=0), best))
    figure = make_figure(9.6, max(2.4, 0.17 * len(labels) + 1.0))
    axes = figure.add_subplot()
    image = axes.imshow(shares[:, order], aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, vmax=1)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    names = [str(used[index]) for index in order]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=min(8.0, 520 / max(len(names), 1)))
    axes.set_xlabel("unit, sorted by its most frequent phone")
    axes.set_ylabel("phone, by frequency")
    plain_axes(axes)
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01)
    bar.set_label("share of the unit's frames", color=INK)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_edgecolor(INK)
    return inline_svg(figure, "heat", "Heat map: which phones each unit stands for; the table of units has the same.")


def duration_figure(study: Study) -> str | None:
    """Return histograms of the durations of units and of phones; None without units."""
    groups = [
        ("runs of one unit", study.unit_durations_s(), _COLORS[0]),
        ("phones", study.phone_durations_s(), _COLORS[1]),
    ]
    if not groups[0][1]:
        return None
    figure = make_figure(7.6, 2.8)
    axes = figure.add_subplot()
    # Bins of a frame, their edges between multiples of 20 ms: units last whole frames.
    edges = 1000 * (0.02 * np.arange(22) + 0.01)
    for name, seconds, color in groups:
        if seconds:
            milliseconds = np.clip(1000 * np.array(seconds), edges[0], edges[-1] - 1)
            weights = np.full(len(seconds), 100 / len(seconds))
            axes.hist(milliseconds, bins=edges, weights=weights, histtype="step", linewidth=2, color=color, label=name)
    axes.set_xlabel("duration (ms; the last bin holds everything longer)")
    axes.set_ylabel("% of them")
    axes.legend(frameon=False, fontsize=9)
    plain_axes(axes)
    return inline_svg(figure, "durations", "Histogram of the durations of units and phones; medians are in the text.")
