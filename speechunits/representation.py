"""The frames under units, held against phones and speakers: ABX and probes of the one layer that units are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechunits.audio.corpus import Corpus, drawn
from speechunits.audio.manifest import Recording
from speechunits.errors import UsageError
from speechunits.evaluation.abx.measure import quick_abx
from speechunits.evaluation.probe.measure import ProbeSettings, measure_probes
from speechunits.evaluation.sources import Source, open_sources

HEARD_HOURS = 0.5
"""Speech that is measured, drawn with a fixed seed: figures come in seconds."""
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
    heard = drawn([row for row in corpus.split(split) if row.id in corpus.phones], HEARD_HOURS)
    sources = open_sources({"units": "mfcc" if source == "mfcc" else str(bundle)})
    kept = ("error", "speaker", "distance", "triples")
    abx = {name: row[name] for row in quick_abx(sources, heard, corpus.phones) for name in kept}
    return {"abx": abx, "probe": _probes(sources, heard, corpus)}


def _probes(sources: Sequence[Source], heard: Sequence[Recording], corpus: Corpus) -> Mapping[str, float]:
    try:
        labels = measure_probes(sources, heard, heard, corpus.phones, {}, PROBES, topline=False)["labels"]
    except UsageError:
        return {}
    return {label: found["rows"][0]["accuracy"] for label, found in labels.items() if "rows" in found}
