"""Pretraining in passes: targets first from MFCC, then from the encoder itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from speechunits.audio.corpus import Corpus
from speechunits.audio.phones import UNKNOWN
from speechunits.config import BudgetConfig, PretrainConfig, UnitsConfig, to_tree
from speechunits.encoder.encoder import load_exported
from speechunits.engine.train import Labels, TrainingResult, train
from speechunits.errors import UsageError
from speechunits.evaluation.phones import frame_phones
from speechunits.evaluation.select import select_layer
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.hardware import cpu_computes_bf16
from speechunits.learners.build import build_learner
from speechunits.learners.learner import Learner
from speechunits.run import content_key, file_hash, is_first_rank, provenance, write_json
from speechunits.units.bundle import encoder_path, read_bundle
from speechunits.units.fit import fit_units
from speechunits.units.kept import awaited, kept_units


def pretrain_passes(config: PretrainConfig, corpus: Corpus, folder: Path) -> None:
    """Pretrain by ``config`` and leave the encoder in ``folder``; resumes where an earlier call was stopped.

    A recording whose units cannot be made is named and left out (``corpus.refused``).

    Raises
    ------
    UsageError
        If ``config.start`` holds no encoder, or one of another shape, or targets are phones that are not known.
    TrainingStopped, Interrupted
        As :func:`speechunits.engine.train.train` does.
    """
    train_rows, held_out = corpus.split("train"), corpus.split("tune")
    passes = config.masked_prediction.passes if config.needs_units else 1
    altered = config.masked_prediction.altered if config.learner == "masked_prediction" else 0.0
    results: list[TrainingResult] = []
    encoder = None if config.start is None else encoder_path(config.start)
    for number in range(1, passes + 1):
        last = number == passes
        place = folder if last else folder / f"pass{number}"
        labels = None
        if config.needs_units:
            source = None if number == 1 and config.masked_prediction.first_targets == "mfcc" else encoder
            units = _targets(config, corpus, source, place / "targets.safetensors")
            known = kept_units(
                units, [*train_rows, *held_out], place / "target_units.safetensors", on_fault=corpus.refuse
            )
            labels = Labels(units=known)
            train_rows, held_out = ([row for row in rows if row.id in known] for rows in (train_rows, held_out))
        clusters = None
        if config.needs_phones:
            labels, clusters = phone_targets(corpus)
        learner, seed = _learner(config, encoder, clusters), config.seed + number - 1
        result = train(
            learner, folder=place, train=train_rows, held_out=held_out, labels=labels, batch=config.batch,
            optimizer=config.optimizer, budget=_share(config, passes), engine=config.engine, seed=seed,
            label="pretrain" if passes == 1 else f"pretrain {number}/{passes}",
            views=config.views if config.needs_views or altered else None, altered=altered,
            origin=None if encoder is None else file_hash(encoder),
        )  # fmt: skip
        results.append(result)
        encoder = place / "encoder.safetensors"
    if is_first_rank():
        _record(config, corpus, folder, results)


def _record(config: PretrainConfig, corpus: Corpus, folder: Path, results: Sequence[TrainingResult]) -> None:
    write_json(folder / "pretrain.json", {
        "provenance": provenance(config, corpus.manifest),
        "passes": [{"steps": result.steps, "audio_hours": result.audio_hours, "wall_s": result.wall_s,
                    "held_out": result.held_out, "stopped": result.stopped} for result in results],
    })  # fmt: skip


def _share(config: PretrainConfig, passes: int) -> BudgetConfig:
    budget = config.budget
    return replace(
        budget, hours=budget.hours / passes, minutes=None if budget.minutes is None else budget.minutes / passes
    )


def _learner(config: PretrainConfig, encoder: Path | None, clusters: int | None = None) -> Learner:
    # Initialisers draw from torch's global generator; it is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learner = build_learner(config, clusters=clusters)
    if encoder is not None:
        tensors, header = read_bundle(encoder, "encoder")
        wanted, held = to_tree(learner.encoder.config), header["encoder"]
        # Dropout is how it is trained, not what it is.
        differing = sorted(
            name for name in wanted.keys() | held.keys() if name != "dropout" and wanted.get(name) != held.get(name)
        )
        if differing:
            raise UsageError(
                f"{encoder} is another encoder: its {', '.join(differing)} differ; give pretrain.encoder the settings "
                "that it was trained with"
            )
        load_exported(learner.encoder, tensors, "encoder.")
    return learner


def phone_targets(corpus: Corpus) -> tuple[Labels, int]:
    """Return the phone of every frame of train and ``tune`` as a number, −1 where it is unknown, and their number.

    Raises
    ------
    UsageError
        If a recording has no alignment.
    """
    recordings = [*corpus.split("train"), *corpus.split("tune")]
    unaligned = [row.id for row in recordings if not corpus.phones.get(row.id)]
    if unaligned:
        raise UsageError(
            f"targets that are phones need an alignment of every recording, but {len(unaligned)} of {len(recordings)} "
            f"have none, the first is {unaligned[0]!r}; name corpus.phones, or let targets be units"
        )
    kinds = sorted({phone.label for row in recordings for phone in corpus.phones[row.id]} - {UNKNOWN})
    numbers: dict[str | None, int] = {None: -1, UNKNOWN: -1} | {kind: number for number, kind in enumerate(kinds)}
    units = {}
    for row in recordings:
        # One more than the duration, rounded in the manifest, may say: frames past the last phone are unknown anyway.
        frames = frame_count(round(row.duration_s * SAMPLE_RATE_HZ)) + 1
        units[row.id] = np.array([numbers[label] for label in frame_phones(corpus.phones[row.id], frames)])
    return Labels(units=units), len(kinds)


def _targets(config: PretrainConfig, corpus: Corpus, encoder: Path | None, path: Path) -> Path:
    """Fit the units that a pass predicts: on MFCC, or on a layer of the encoder of the pass before.

    Of several ranks the first does; the others wait for the bundle.
    """
    settings = config.masked_prediction
    # The criterion is named, not left to a default that may change: the key would not tell.
    units = UnitsConfig(
        source="mfcc" if encoder is None else "kmeans", clusters=settings.clusters, layer=settings.target_layer,
        seed=config.seed, criterion="predictability",
    )  # fmt: skip
    key = content_key(
        provenance(units, corpus.manifest)["config"],
        file_hash(corpus.manifest),
        file_hash(encoder) if encoder else None,
    )

    def made() -> Path | None:
        return path if path.exists() and read_bundle(path, "units")[1]["provenance"].get("key") == key else None

    if not is_first_rank():
        return awaited(made)
    if made() is not None:
        return path
    train_recordings = corpus.split("train")
    # As training computes, 1.4 times as fast; not in the key, since what was made elsewhere stays as it is.
    units = replace(units, precision="bf16" if encoder is not None and cpu_computes_bf16() else "fp32")
    if encoder is not None and units.layer == "auto":
        choice = select_layer(encoder, train_recordings, corpus.split("tune"), units, on_fault=corpus.refuse)
        print(f"targets of the next pass: layer {choice.layer}", file=sys.stderr)
        units = replace(units, layer=choice.layer)
    fit_units(encoder, train_recordings, units, path=path, provenance={"key": key}, on_fault=corpus.refuse)
    return path
