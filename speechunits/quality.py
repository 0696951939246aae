"""Units held against phones and against their own past: bundles side by side, and one aligned example."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits import __version__
from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import SILENCE, Phone
from speechunits.config import UnitsConfig
from speechunits.errors import InputRefused
from speechunits.evaluation.boundaries import TOLERANCE_S, Segmentation, inner_boundaries, segmentation
from speechunits.evaluation.dependence import owner_information
from speechunits.evaluation.information import entropy_bits, held_out_predictability
from speechunits.evaluation.phones import Agreement, phone_table, unit_quality
from speechunits.frames import FRAME_RATE_HZ
from speechunits.progress import progress
from speechunits.report.inventory import LARGEST_COMPARED, inventory_markdown, plot_phones
from speechunits.run import commit, file_hash, write_json, write_text
from speechunits.units.bundle import read_bundle
from speechunits.units.extract import load_recordings
from speechunits.units.fit import fit_units
from speechunits.units.sequence import Interval, intervals, merged
from speechunits.units.units import Units

OnTable = Callable[[str, list[str], NDArray[np.int64]], None]
PREDICTOR_HOURS = 0.5
"""Train speech the n-gram predictor is fitted on, in the manifest's order."""


def measure_units(
    bundles: Mapping[str, Path], corpus: Corpus, split: str, on_table: OnTable | None = None
) -> dict[str, Any]:
    """Score bundles on one split: agreement with phones and speakers, boundaries, use of the inventory, predictability.

    A recording that cannot be read is named and left out (``corpus.refused``).
    ``on_table`` is handed, bundle by bundle, its name, the phones, and the ``(P, K)`` counts of phones and units.

    Raises
    ------
    InputRefused
        If a bundle cannot be read, or no recording of a split.
    """
    return {name: _measure(Units.load(path), corpus, split, name, on_table) for name, path in bundles.items()}


def evaluate_units(bundles: Mapping[str, Path], corpus: Corpus, split: str, out: Path | None = None) -> str:
    """Score bundles beside MFCC units of the same K; return the table. Into ``out``: figures, table, heat maps.

    The row of MFCC is always there: where no bundle is one, it is fitted on a part of train (kept in ``out``).

    Raises
    ------
    InputRefused
        If a bundle cannot be read, or no recording of a split, or no phone is known.
    UsageError
        If the split, or the speech held out for the predictor, is empty.
    """
    tables: list[tuple[str, list[str], NDArray[np.int64]]] = []
    with TemporaryDirectory() as scratch:
        bundles = {**bundles, **_baselines(bundles, corpus, out or Path(scratch))}
        measures = measure_units(bundles, corpus, split, lambda *table: tables.append(table))
    text = inventory_markdown(measures)
    if out is not None:
        made_by = {"version": __version__, "commit": commit(), "manifest_sha256": file_hash(corpus.manifest)}
        write_json(out / "units.json", {"provenance": made_by, "split": split, "measures": measures})
        write_text(out / "units.md", text)
        _draw(tables, out)
    return text


def _draw(tables: list[tuple[str, list[str], NDArray[np.int64]]], out: Path) -> None:
    if find_spec("matplotlib") is None:
        print("no heat maps: matplotlib is not installed; `pip install 'speechunits[report]'` adds it", file=sys.stderr)
        return
    for index, (name, phones, counts) in enumerate(tables):
        plot_phones(name, phones, counts, out / f"phones-{index}.png")


def _baselines(bundles: Mapping[str, Path], corpus: Corpus, folder: Path) -> dict[str, Path]:
    """Fit MFCC units of every K that the bundles have (the largest compared for more) and no plain MFCC among them."""
    headers = [read_bundle(path, "units")[1]["units"] for path in bundles.values()]
    # A second codebook makes K times as many units: its inventory is compared with MFCC's of that many.
    sizes = {settings["clusters"] * (settings.get("residual_clusters") or 1) for settings in headers}
    compared = {min(size, LARGEST_COMPARED) for size in sizes}
    plain = [row for row in headers if row["source"] == "mfcc" and not row.get("residual_clusters")]
    there = {row["clusters"] for row in plain}
    found = {}
    for clusters in sorted(compared - there):
        path = folder / f"mfcc-{clusters}.safetensors"
        made_by = {"manifest_sha256": file_hash(corpus.manifest)}
        if not path.exists() or read_bundle(path, "units")[1]["provenance"] != made_by:
            config = UnitsConfig(source="mfcc", clusters=clusters)
            fit_units(
                None, _predictor_recordings(corpus), config, path=path, provenance=made_by, on_fault=corpus.refuse
            )
        found[f"MFCC, K = {clusters}"] = path
    return found


def _measure(units: Units, corpus: Corpus, split: str, name: str, on_table: OnTable | None) -> dict[str, Any]:
    held, fitted, tune = corpus.split(split), _predictor_recordings(corpus), corpus.split("tune")
    ids: dict[str, NDArray[np.int64]] = {}
    with progress(f"units of {name}", len(held) + len(fitted) + len(tune)) as advance:
        for row, found in units.recordings([*held, *fitted, *tune], corpus.refuse):
            ids[row.id] = found
            advance(1, "")
    held, fitted, tune = (_read(rows, ids) for rows in (held, fitted, tune))
    known = [row for row in held if row.id in corpus.phones]
    pairs = [(ids[row.id], corpus.phones[row.id]) for row in known]
    agreement = unit_quality(pairs, units.clusters)
    if on_table is not None:
        on_table(name, *phone_table(pairs, units.clusters))
    frames = held_out_predictability([ids[row.id] for row in fitted], [ids[row.id] for row in tune], units.clusters)
    merges = held_out_predictability(
        [merged(ids[row.id]) for row in fitted], [merged(ids[row.id]) for row in tune], units.clusters
    )
    return {
        "source": units.header["units"].get("source"),
        "layer": units.header["units"].get("layer"),
        "clusters": units.clusters,
        "without_silence": _agreement_tree(agreement.without_silence),
        "with_silence": _agreement_tree(agreement.with_silence),
        "speaker": _speaker_tree([ids[row.id] for row in held], [row.speaker for row in held]),
        "boundaries": phone_boundaries(known, ids, corpus, silence=False).to_tree(),
        "boundaries_with_silence": phone_boundaries(known, ids, corpus, silence=True).to_tree(),
        "predictable_bits_a_frame": frames.bits,
        "predictable_bits_a_run": merges.bits,
        **_use([ids[row.id] for row in held], units.clusters),
    }


def _read(rows: list[Recording], ids: Mapping[str, NDArray[np.int64]]) -> list[Recording]:
    """Return the recordings whose units are known, the others being refused. Raises InputRefused if none is."""
    kept = [row for row in rows if row.id in ids]
    if not kept:
        raise InputRefused(f"no recording of split {rows[0].split!r} can be read; each is named above")
    return kept


def _predictor_recordings(corpus: Corpus) -> list[Recording]:
    fitted, total_s = [], 0.0
    for row in corpus.split("train"):
        if total_s < PREDICTOR_HOURS * 3600:
            fitted.append(row)
            total_s += row.duration_s
    return fitted


def _agreement_tree(agreement: Agreement) -> dict[str, Any]:
    chance_bits = agreement.pnmi_chance * agreement.phone_entropy_bits
    corrected = {"information_corrected_bits": agreement.information_bits - chance_bits}
    return dataclasses.asdict(agreement) | corrected


def _speaker_tree(units: list[NDArray[np.int64]], speakers: list[str | None]) -> dict[str, float] | None:
    """Return I(unit; speaker); None where speakers are not known, or cannot be told from what is said."""
    names = [speaker for speaker in speakers if speaker]
    if len(names) < len(speakers) or not 1 < len(set(names)) < len(names):
        return None
    found = owner_information(units, names)
    frames = [sum(len(row) for row, owner in zip(units, names, strict=True) if owner == name) for name in set(names)]
    return {"plug_in_bits": found.plug_in_bits, "bits": found.bits, "entropy_bits": entropy_bits(np.array(frames))}


def phone_boundaries(
    recordings: list[Recording], ids: Mapping[str, NDArray[np.int64]], corpus: Corpus, *, silence: bool
) -> Segmentation:
    """Score where units change against where phones do; without ``silence``, changes inside pauses are not counted."""
    pairs = []
    for row in recordings:
        phones = corpus.phones[row.id]
        first_s, last_s = phones[0].start_s, phones[-1].end_s
        # Where a recording begins and ends nothing changes.
        changes = [(run.start_s, run.start_s) for run in intervals(ids[row.id], row.duration_s)[1:]]
        found = inner_boundaries(changes, first_s, last_s)
        if not silence:
            pauses = [phone for phone in phones if phone.label == SILENCE]
            # A change near the edge of a pause may mark the edge: only what is too far inside to be a hit is left out.
            found = [edge for edge in found if not any(
                pause.start_s + TOLERANCE_S < edge < pause.end_s - TOLERANCE_S for pause in pauses)]  # fmt: skip
        pairs.append((found, inner_boundaries([phone[:2] for phone in phones], first_s, last_s)))
    return segmentation(pairs)


def _use(units: list[NDArray[np.int64]], clusters: int) -> dict[str, float]:
    """Return how the inventory is used: active and dead units, perplexity, rate, bitrate in both definitions."""
    counts = np.bincount(np.concatenate(units), minlength=clusters)
    run_counts = np.bincount(np.concatenate([merged(row) for row in units]), minlength=clusters)
    runs_a_second = float(run_counts.sum() / (counts.sum() / FRAME_RATE_HZ))
    active = int((counts > 0).sum())
    return {
        "active": active,
        "dead": clusters - active,
        "perplexity": 2 ** entropy_bits(counts),
        "units_a_second": runs_a_second,
        "bitrate_log2k": runs_a_second * float(np.log2(clusters)),
        "bitrate_entropy": runs_a_second * entropy_bits(run_counts),
    }


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
