"""The frames under units, held against phones and speakers: ABX and probes of the one layer that units are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.errors import UsageError
from speechunits.evaluation.abx.items import items_from_phones
from speechunits.evaluation.abx.measure import AbxSettings, measure_abx
from speechunits.evaluation.probe.measure import ProbeSettings, measure_probes
from speechunits.evaluation.sources import Source, open_sources

HEARD_HOURS = 0.5
"""Speech that is measured, drawn with a fixed seed: figures come in seconds."""
ABX = AbxSettings(speakers=("across",), max_group=10)
"""Triphones in their context, across speakers, at most ten tokens of each."""
PROBES = ProbeSettings(labels=("phone", "speaker"), seeds=(0, 1), fit_examples=4000, test_examples=4000)


def measure_representation(bundle: Path, source: str, corpus: Corpus, split: str) -> dict[str, Any]:
    """Return ``abx`` (``error``) and ``probe`` (accuracies ``phone``, ``speaker``) of the features of a units bundle.

    Parameters
    ----------
    source
        ``units.source`` of the bundle: with ``mfcc`` those are measured, else the encoder's layer.

    A figure that the recordings do not allow (one speaker, no triphone twice) is left out.

    Raises
    ------
    InputRefused
        If the bundle or a recording cannot be read.
    """
    heard = _drawn([row for row in corpus.split(split) if row.id in corpus.phones])
    sources = open_sources({"units": "mfcc" if source == "mfcc" else str(bundle)})
    return {"abx": _abx(sources, heard, corpus), "probe": _probes(sources, heard, corpus)}


def _drawn(recordings: Sequence[Recording]) -> list[Recording]:
    kept: set[Recording] = set()
    total_s = 0.0
    for place in np.random.default_rng(0).permutation(len(recordings)):
        if total_s < 3600 * HEARD_HOURS:
            kept.add(recordings[place])
            total_s += recordings[place].duration_s
    return [row for row in recordings if row in kept]


def _abx(sources: Sequence[Source], heard: Sequence[Recording], corpus: Corpus) -> dict[str, Any]:
    try:
        items = items_from_phones(heard, corpus.phones, "triphone")
        (row,) = measure_abx(sources, {}, items, heard, ABX)["scores"]
    except UsageError:
        return {}
    return {name: row[name] for name in ("error", "speaker", "distance", "triples")}


def _probes(sources: Sequence[Source], heard: Sequence[Recording], corpus: Corpus) -> Mapping[str, float]:
    try:
        labels = measure_probes(sources, heard, heard, corpus.phones, {}, PROBES, topline=False)["labels"]
    except UsageError:
        return {}
    return {label: found["rows"][0]["accuracy"] for label, found in labels.items() if "rows" in found}
