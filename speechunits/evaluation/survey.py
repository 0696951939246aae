"""Many encoders on several corpora: which criterion would have chosen which layer, and what that would have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.config import UnitsConfig
from speechunits.evaluation.abx.measure import quick_abx
from speechunits.evaluation.criteria import MEASURED
from speechunits.evaluation.layers import LayerScores, measure_layers
from speechunits.evaluation.select import Judge, Regret, regrets
from speechunits.evaluation.sources import open_sources
from speechunits.run import content_key, file_hash, read_json, write_json
from speechunits.units.sample import part

JUDGED_FRAMES = 40_000
"""Of the split that judges: a quarter of an hour."""


def survey(
    encoders: Mapping[str, Path],
    corpora: Mapping[str, Corpus],
    sizes: Sequence[int],
    path: Path,
    *,
    split: str = "dev",
    sample_frames: int = 50_000,
) -> list[dict[str, Any]]:
    """Measure every layer of every encoder on every corpus, for every K; what ``path`` holds already is kept.

    Returns
    -------
    Rows of ``encoder``, ``corpus``, ``clusters``, ``scores``, ``pnmi``, ``pnmi_corrected``, ``abx``; kept one by one.

    Raises
    ------
    UsageError
        If a split is empty.
    InputRefused
        If an encoder or a recording cannot be read, or no phone is known.
    """
    rows: list[dict[str, Any]] = read_json(path) if path.exists() else []
    for name, corpus in corpora.items():
        held = [row for row in corpus.split(split) if row.id in corpus.phones]
        judged: list[tuple[Any, Sequence[Phone]]] = [
            (row, corpus.phones[row.id]) for row in part(held, JUDGED_FRAMES, 0)
        ]
        heard = file_hash(corpus.manifest), split, content_key([(row.id, phones) for row, phones in judged])
        for encoder, source in encoders.items():
            for clusters in sizes:
                key = content_key(*heard, file_hash(source), clusters, sample_frames)
                row = next((row for row in rows if row["key"] == key), None)
                if row is not None and "abx" in row:
                    continue
                if row is None:
                    names = {"encoder": encoder, "corpus": name, "clusters": clusters}
                    # Of another encoder of this name, or other phones: one row is enough.
                    rows = [other for other in rows if {key: other[key] for key in names} != names]
                    found = measure_layers(
                        source, corpus.split("train"), corpus.split("tune"), UnitsConfig(clusters=clusters), MEASURED,
                        sample_frames=sample_frames, train_frames=sample_frames, judged=judged,
                        on_fault=corpus.refuse,
                    )  # fmt: skip
                    row = {**names, "key": key, **found.to_tree()}
                    rows.append(row)
                row["abx"] = layer_abx(source, [pair for pair in judged if pair[0].id not in corpus.refused])
                write_json(path, rows)
    return rows


def layer_abx(encoder: Path, judged: Sequence[tuple[Recording, Sequence[Phone]]]) -> list[float]:
    """Return the ABX error of each layer's frames: triphones, across speakers, angular, at most ten a cell.

    Empty where the recordings hold no triple, or lack speakers.

    Raises
    ------
    InputRefused
        If the encoder or a recording cannot be read.
    """
    sources = open_sources({encoder.name: str(encoder)})
    rows = quick_abx(sources, [row for row, _ in judged], {row.id: phones for row, phones in judged})
    return [row["error"] for row in rows]


def row_regrets(row: Mapping[str, Any], judge: Judge = "pnmi") -> dict[str, Regret]:
    """Return the regrets of one row of :func:`survey`."""
    return regrets(
        LayerScores(**{key: row[key] for key in ("scores", "pnmi", "pnmi_corrected", "abx") if key in row}), judge
    )
