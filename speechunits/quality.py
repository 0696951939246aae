"""Units held against phones and against their own past: bundles side by side, and one aligned example."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.corpus import Corpus
from speechunits.audio.phones import Phone
from speechunits.evaluation.information import entropy_bits, held_out_predictability
from speechunits.evaluation.phones import unit_quality
from speechunits.frames import FRAME_RATE_HZ
from speechunits.progress import progress
from speechunits.units.extract import load_recordings
from speechunits.units.sequence import Interval, intervals, merged
from speechunits.units.units import Units

PREDICTOR_HOURS = 1.5
"""Train speech the n-gram predictor is fitted on, in the manifest's order."""


def measure_units(bundles: Mapping[str, Path], corpus: Corpus, split: str) -> dict[str, Any]:
    """Score bundles on one split: agreement with phones, use of the inventory, held-out predictability.

    Raises
    ------
    InputRefused
        If a bundle or a recording cannot be read.
    """
    return {name: _measure(Units.load(path), corpus, split, name) for name, path in bundles.items()}


def _measure(units: Units, corpus: Corpus, split: str, name: str) -> dict[str, Any]:
    held = corpus.split(split)
    known = [row for row in held if row.id in corpus.phones]
    fitted, total_s = [], 0.0
    for row in corpus.split("train"):
        if total_s < PREDICTOR_HOURS * 3600:
            fitted.append(row)
            total_s += row.duration_s
    tune = corpus.split("tune")
    ids: dict[str, NDArray[np.int64]] = {}
    with progress(f"units of {name}", len(held) + len(fitted) + len(tune)) as advance:
        for row, found in units.recordings([*held, *fitted, *tune]):
            ids[row.id] = found
            advance(1, "")
    agreement = unit_quality(((ids[row.id], corpus.phones[row.id]) for row in known), units.clusters)
    frames = held_out_predictability([ids[row.id] for row in fitted], [ids[row.id] for row in tune], units.clusters)
    merges = held_out_predictability(
        [merged(ids[row.id]) for row in fitted], [merged(ids[row.id]) for row in tune], units.clusters
    )
    counts = np.bincount(np.concatenate([ids[row.id] for row in held]), minlength=units.clusters)
    runs_a_second = sum(len(merged(ids[row.id])) for row in held) / (counts.sum() / FRAME_RATE_HZ)
    return {
        "layer": units.header["units"].get("layer"),
        "clusters": units.clusters,
        **{key: dataclasses.asdict(getattr(agreement, key)) for key in ("without_silence", "with_silence")},
        "predictable_bits_a_frame": frames.bits,
        "predictable_bits_a_run": merges.bits,
        "active": int((counts > 0).sum()),
        "perplexity": 2 ** entropy_bits(counts),
        "units_a_second": runs_a_second,
        "bitrate_log2k": runs_a_second * float(np.log2(units.clusters)),
        "bitrate_entropy": runs_a_second * entropy_bits(_run_counts(ids, [row.id for row in held], units.clusters)),
    }


def _run_counts(ids: Mapping[str, NDArray[np.int64]], names: list[str], clusters: int) -> NDArray[np.int64]:
    return np.bincount(np.concatenate([merged(ids[name]) for name in names]), minlength=clusters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One sentence with its phones and its units."""

    id: str
    text: str
    duration_s: float
    phones: tuple[Phone, ...]
    intervals: tuple[Interval, ...]
    """Runs of units."""


def aligned_example(bundle: Path, corpus: Corpus, split: str) -> Example | None:
    """Return a short sentence of a split with its phones and units; None if no phones are known."""
    known = [row for row in corpus.split(split) if row.id in corpus.phones]
    if not known or not bundle.exists():
        return None
    # A screen holds about two seconds; the id breaks ties, so that the same sentence shows every time.
    row = min(known, key=lambda row: (abs(row.duration_s - 2.0), row.id))
    ((_, waveform),) = load_recordings([row])
    return Example(
        id=row.id, text=row.text or "", duration_s=row.duration_s, phones=tuple(corpus.phones[row.id]),
        intervals=tuple(intervals(Units.load(bundle).units(waveform), row.duration_s)),
    )  # fmt: skip
