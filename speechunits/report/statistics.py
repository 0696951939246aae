"""The figures of pseudo-text as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechunits.report.tables import Row, markdown

_FIGURES = (
    ("units a second, merged", "units_a_second", "{:.1f}"),
    ("pieces in use", "piece_types", "{}"),
    ("units a piece", "units_a_piece", "{:.2f}"),
    ("Zipf slope", "zipf_slope", "{:.2f}"),
    ("H(unit), bits", "entropy_bits", "{:.2f}"),
    ("bits a unit, Kneser–Ney 5-gram", "ngram_bits_a_unit", "{:.2f}"),
    ("bits a unit, recurrent", "recurrent_bits_a_unit", "{:.2f}"),
    ("entropy rate, bits a second (upper bound)", "entropy_rate_bits_a_second", "{:.0f}"),
)
_SHOWN = 15


def statistics_markdown(figures: Mapping[str, Any]) -> str:
    """Return the figures, the segmentations and the first word candidates."""
    rows: list[Row] = [
        (name, form.format(figures[key])) for name, key, form in _FIGURES if figures.get(key) is not None
    ]
    text = markdown(("pseudo-text", figures["split"]), rows)
    scored: list[Row] = [
        (f"{truth}, by {name}", *(f"{100 * found[key]:.1f}" for key in ("precision", "recall", "f1", "r_value")))
        for truth in ("phones", "words")
        for name, found in figures.get(truth, {}).items()
    ]
    if scored:
        text += "\n" + markdown(("boundaries, 20 ms", "precision %", "recall %", "F1 %", "R-value %"), scored)
    found: list[Row] = [
        (row["piece"], str(row["count"]), str(row["recordings"]), f"{row['mean_duration_s']:.2f}",
         "{id} {start_s:.2f}".format(**row["places"][0]))
        for row in figures["candidates"][:_SHOWN]
    ]  # fmt: skip
    header = ("word candidate", "times", "recordings", "mean s", "first heard at")
    return text + "\n" + markdown(header, found)
