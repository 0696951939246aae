"""Measured inventories side by side: a row a figure, a column a bundle; and how often each phone is which unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.report.tables import Row, markdown
from speechunits.run import atomic_path

LARGEST_COMPARED = 256
"""K beyond which PNMI is not compared: it grows with K whatever the units say."""
_FIGURES: Sequence[tuple[str, str, str]] = (
    ("K", "clusters", "{}"),
    ("layer", "layer", "{}"),
    ("PNMI %", "without_silence.pnmi", "{:.1%}"),
    ("PNMI %, corrected for chance", "without_silence.pnmi_corrected", "{:.1%}"),
    ("PNMI %, with silence", "with_silence.pnmi", "{:.1%}"),
    ("PNMI %, with silence, corrected", "with_silence.pnmi_corrected", "{:.1%}"),
    ("phone purity %", "without_silence.phone_purity", "{:.1%}"),
    ("cluster purity %", "without_silence.cluster_purity", "{:.1%}"),
    ("I(unit; phone), bits, corrected", "without_silence.information_corrected_bits", "{:.2f}"),
    ("H(phone), bits", "without_silence.phone_entropy_bits", "{:.2f}"),
    ("I(unit; speaker), bits, corrected", "speaker.bits", "{:.3f}"),
    ("H(speaker), bits", "speaker.entropy_bits", "{:.2f}"),
    ("boundary F1 %, 20 ms", "boundaries.f1", "{:.1%}"),
    ("boundary R-value %, 20 ms", "boundaries.r_value", "{:.1%}"),
    ("R-value %, with changes inside pauses", "boundaries_with_silence.r_value", "{:.1%}"),
    ("units a second, merged", "units_a_second", "{:.1f}"),
    ("bits a second, log2 K", "bitrate_log2k", "{:.0f}"),
    ("bits a second, entropy", "bitrate_entropy", "{:.0f}"),
    ("perplexity", "perplexity", "{:.1f}"),
    ("active units", "active", "{}"),
    ("dead units", "dead", "{}"),
    ("H(unit) − Ĥ(unit | past), bits a frame", "predictable_bits_a_frame", "{:.2f}"),
    ("the same, bits a merged unit", "predictable_bits_a_run", "{:.2f}"),
)


def inventory_markdown(measures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table, bundles side by side, and a note where one is too large to be compared."""
    rows: list[Row] = [
        (name, *(_cell(measured, path, form) for measured in measures.values())) for name, path, form in _FIGURES
    ]
    text = markdown(("figure", *measures), rows)
    large = [name for name, measured in measures.items() if measured["clusters"] > LARGEST_COMPARED]
    if large:
        text += (
            f"\nK > {LARGEST_COMPARED}: PNMI and purity of {', '.join(large)} mean little (random units score .93 at "
            "K = 102,400); reduce the inventory first.\n"
        )
        # The row that is always there has the largest K that is compared.
        if any((measured.get("source"), measured["clusters"]) == ("mfcc", LARGEST_COMPARED) for measured in
               measures.values()):  # fmt: skip
            text += f"\nThey are compared with MFCC at K = {LARGEST_COMPARED}.\n"
    return text


def _cell(measured: Mapping[str, Any], path: str, form: str) -> str:
    value: Any = measured
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return "–" if value is None else form.format(value).removesuffix("%")


def plot_phones(name: str, phones: Sequence[str], counts: NDArray[np.int64], path: Path) -> None:
    """Draw P(phone | unit): a row a phone, a column an active unit, units ordered by their most frequent phone."""
    # Without pyplot, which keeps global state and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415

    shares = ordered_shares(counts)
    figure = Figure(figsize=(9, max(2.5, 0.17 * len(phones))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, aspect="auto", interpolation="nearest", cmap="magma_r", vmin=0, vmax=1)
    axes.set_yticks(range(len(phones)), phones, fontsize=7)
    axes.set_xlabel(f"{shares.shape[1]} active units, by their most frequent phone")
    axes.set_title(name, fontsize=9.5, loc="left", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the unit's frames")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def ordered_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``(P, active)`` P(phone | unit) of ``(P, K)`` counts, units ordered by best phone, purest first."""
    active = counts[:, counts.sum(axis=0) > 0]
    shares: NDArray[np.float64] = active / np.maximum(active.sum(axis=0), 1)
    return shares[:, np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))] if shares.size else shares
