"""The trainings behind the reduction factor: one cell a side, label budget and seed; finished cells are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechunits.asr.decode import greedy_texts, recording_posteriors
from speechunits.asr.hypothesis import Precision
from speechunits.asr.posteriors import SavedPosteriors, save_posteriors
from speechunits.asr.recognizer import Recognizer
from speechunits.audio.corpus import Corpus, with_phones_as_text
from speechunits.audio.manifest import Recording
from speechunits.audio.split import label_list
from speechunits.cell import Cell
from speechunits.config import EncoderConfig, FinetuneConfig, ReductionConfig, to_tree
from speechunits.config.pretrain import deciding_batch
from speechunits.encoder.encoder import encoder_from_export
from speechunits.errors import UsageError
from speechunits.evaluation.edit import character_edits, word_edits
from speechunits.evaluation.score import (
    Score,
    Side,
    scores_from_json,
    scores_to_json,
    utterance_hash,
)
from speechunits.finetuning import finetune
from speechunits.hardware import cpu_computes_bf16
from speechunits.processes import in_processes
from speechunits.run import content_key, file_hash, provenance, read_json, write_json
from speechunits.units.bundle import read_bundle, write_bundle
from speechunits.units.units import Units

FIELDS: Mapping[Side, str] = {
    "pretrained": "finetune", "untrained": "untrained", "logmel": "logmel", "units": "units",
}  # fmt: skip
"""Where the configuration of a sweep has the training of each side."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cells of a sweep share."""

    corpus: Corpus
    config: ReductionConfig
    encoder: Path | None
    """``encoder.safetensors`` of the pretraining; None where no cell starts from it."""
    folder: Path
    dev: str = "dev"
    units: Path | None = None
    """``units.safetensors``, where recognisers that read units are asked for."""
    extra_hours: Mapping[Side, float] = field(default_factory=dict)
    """Audio-hours on top for baselines of equal compute."""
    architecture: EncoderConfig | None = None
    """What pretraining would have made, where there is no ``encoder`` to ask."""
    chosen: Mapping[tuple[Side, float | None], int] = field(default_factory=dict)
    """Which of the settings that were tried trains the cells of a side and label budget."""
    published: Mapping[str, Any] = field(default_factory=dict)
    """``results.json`` of an earlier sweep: its cells of the same key are not trained again."""

    def __post_init__(self) -> None:
        if self.config.finetune.tokens == "phones":
            object.__setattr__(self, "corpus", with_phones_as_text(self.corpus))


def check_equal_hours(config: ReductionConfig, todo: Sequence[Cell]) -> None:
    """Raise UsageError where sides of a sweep hear more than others: what settles later would only look worse."""
    hours = {FIELDS[cell.side]: getattr(config, FIELDS[cell.side]).budget.hours for cell in todo}
    if len(set(hours.values())) > 1:
        raise UsageError(
            f"all sides of a sweep must hear the same audio-hours, but budget.hours is {hours} under reduction; set "
            "one for all (a single training of another length: `speechunits finetune`)"
        )


def run_cells(todo: Sequence[Cell], setting: Setting) -> Iterator[tuple[Cell, list[Score]]]:
    """Yield every cell with its scores as it is finished: ``config.jobs`` at a time, each process training many.

    Beside a job of several, ``NAME.log`` holds what the training had to say.
    """
    jobs = min(setting.config.jobs, len(todo))
    if jobs < 2 or torch.cuda.is_available():
        for cell in todo:
            yield cell, run_cell(cell, setting)
        return
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    yield from in_processes(partial(_run_share, setting=setting, threads=threads), todo, jobs, name="training")


def _run_share(todo: Sequence[Cell], *, setting: Setting, threads: int) -> Iterator[tuple[Cell, list[Score]]]:
    torch.set_num_threads(threads)
    setting.folder.mkdir(parents=True, exist_ok=True)
    for cell in todo:
        with (setting.folder / f"{cell.name}.log").open("w", encoding="utf-8") as log, redirect_stderr(log):
            scores = run_cell(cell, setting)
        yield cell, scores


def run_cell(cell: Cell, setting: Setting, *, keep: Path | None = None) -> list[Score]:
    """Train one cell and score it on dev and ``tune``, or return the scores it already has.

    ``keep`` is where to write the recogniser's bundle. Hypotheses stay beside the scores in the run folder.
    """
    config = _config(cell, setting)
    labelled = label_list(setting.corpus.recordings, cell.minutes, cell.seed)
    scored = _scored(setting)
    key = cell_key(cell, setting)
    kept = kept_scores(cell, setting, key)
    if kept is not None and (keep is None or _is_of(keep, key)):
        return kept
    recognizer, outcome = _train(cell, config, labelled, setting)
    scores = [_score(cell, recognizer, split, labelled, setting, key) for split in scored]
    if keep is not None:
        tensors, header = recognizer.export()
        made_by = {**provenance(config, setting.corpus.manifest), "key": key}
        write_bundle(keep, tensors, {**header, "provenance": made_by})
    write_json(setting.folder / f"{cell.name}.json", {"key": key, "outcome": outcome, "scores": scores_to_json(scores)})
    return scores


def kept_scores(cell: Cell, setting: Setting, key: str) -> list[Score] | None:
    """Return the scores that a cell of this key already has, in the run folder or published; None where it has none."""
    language = setting.config.language
    # Published cells have no posteriors either.
    if language.rows and language.train_again and not has_posteriors(cell, setting):
        return None
    saved = setting.folder / f"{cell.name}.json"
    if saved.exists() and (found := read_json(saved))["key"] == key:
        return scores_from_json(found["scores"])
    if setting.published.get("keys", {}).get(cell.name) == key:
        return [score for score in scores_from_json(setting.published["scores"]) if cell.made(score)]
    return None


def cell_key(cell: Cell, setting: Setting) -> str:
    """Return the key of all that decides a cell's scores: settings, labels, what is scored, what it starts from."""
    labelled = label_list(setting.corpus.recordings, cell.minutes, cell.seed)
    return content_key(
        _deciding(_config(cell, setting)), cell.minutes, [(recording.id, recording.text) for recording in labelled],
        {split: [(recording.id, recording.text) for recording in held] for split, held in _scored(setting).items()},
        _source_hash(cell, setting),
    )  # fmt: skip


def _scored(setting: Setting) -> dict[str, list[Recording]]:
    """Return the recordings that are recognised, by split. Raises UsageError where a split has no transcripts."""
    scored = {split: setting.corpus.split(split) for split in (setting.dev, "tune")}
    for split, held in scored.items():
        # Found out now, not after the training.
        if not any((recording.text or "").strip() for recording in held):
            raise UsageError(
                f"error rates on {split} need its transcripts, but none of its {len(held)} recordings has one; fill "
                "the column text of the manifest, or have it split anew without the column split"
            )
    return scored


def _is_of(bundle: Path, key: str) -> bool:
    """Tell whether a recogniser's bundle was kept from the cell of this key, not from another one."""
    return bundle.exists() and read_bundle(bundle, "recognizer")[1].get("provenance", {}).get("key") == key


def _config(cell: Cell, setting: Setting) -> FinetuneConfig:
    reduction = setting.config
    base: FinetuneConfig = getattr(reduction, FIELDS[cell.side])
    if cell.trial is not None:
        base = reduction.tuning.trial(cell.trial, base)
    elif (chosen := setting.chosen.get((cell.side, cell.minutes))) is not None:
        base = reduction.tuning.candidates(base)[chosen]
    encoder = base.encoder
    if cell.side == "untrained":
        # The baseline is the pretrained side's own architecture: only the weights differ.
        encoder = _architecture(setting)
    budget = base.budget
    if cell.compute:
        budget = replace(budget, hours=budget.hours + setting.extra_hours[cell.side])
    return replace(base, side=cell.side, seed=cell.seed, encoder=encoder, budget=budget)


def _deciding(config: FinetuneConfig) -> dict[str, Any]:
    """Return the settings that decide which weights come out; threads and reporting do not."""
    tree: dict[str, Any] = to_tree(config)
    tree["engine"] = {name: tree["engine"][name] for name in ("precision", "accumulate")}
    tree["batch"] = deciding_batch(config.batch)
    return tree


def _source_hash(cell: Cell, setting: Setting) -> str | None:
    """Return the hash of what a cell starts from: the encoder, the inventory, or nothing."""
    if cell.side == "units":
        return _inventory(setting).key
    return file_hash(_encoder(setting)) if cell.side == "pretrained" else None


def _inventory(setting: Setting) -> Units:
    if setting.units is None:
        raise UsageError("what reads units needs an inventory; run `speechunits run RECIPE.yaml --only units` first")
    return Units.load(setting.units)


def _encoder(setting: Setting) -> Path:
    if setting.encoder is None:
        raise UsageError("this side needs a pretrained encoder; run `speechunits pretrain RECIPE.yaml` first")
    return setting.encoder


def _architecture(setting: Setting) -> EncoderConfig:
    if setting.encoder is None and setting.architecture is not None:
        return setting.architecture
    return encoder_from_export(*read_bundle(_encoder(setting), kind="encoder")).config


def _train(
    cell: Cell, config: FinetuneConfig, labelled: list[Recording], setting: Setting
) -> tuple[Recognizer, dict[str, Any]]:
    chosen = {recording.id for recording in labelled}
    return finetune(
        config, labelled, setting.corpus.split("tune"), folder=setting.folder / cell.name, name=cell.name,
        encoder=_encoder(setting) if cell.side == "pretrained" else None,
        inventory=_inventory(setting) if cell.side == "units" else None,
        unlabelled=[recording for recording in setting.corpus.split("train") if recording.id not in chosen],
    )  # fmt: skip


def _score(
    cell: Cell, recognizer: Recognizer, split: str, labelled: list[Recording], setting: Setting, key: str
) -> Score:
    precision: Precision = "bf16" if cpu_computes_bf16() else "fp32"
    recordings = setting.corpus.split(split)
    posteriors = recording_posteriors(recognizer, recordings, precision=precision)
    hypotheses = greedy_texts(recognizer, posteriors)
    ids = [recording.id for recording in recordings]
    write_json(setting.folder / cell.name / f"{split}.json", dict(zip(ids, hypotheses, strict=True)))
    heard = dict(zip(ids, posteriors, strict=True))
    save_posteriors(
        posteriors_path(cell, split, setting),
        SavedPosteriors(key=key, tokenizer=recognizer.tokenizer, heard=heard),
    )  # fmt: skip
    return score_of(cell, split, recordings, hypotheses, labelled, spaced=recognizer.tokenizer.spaced)


def score_of(
    cell: Cell, split: str, recordings: Sequence[Recording], hypotheses: Sequence[str], labelled: Sequence[Recording],
    *, lm: str = "", spaced: bool,
) -> Score:  # fmt: skip
    """Return the score of a cell's hypotheses on a split, over phones where ``spaced``, else over code points."""
    edits = word_edits if spaced else character_edits
    counted = [
        edits(recording.text or "", hypothesis) for recording, hypothesis in zip(recordings, hypotheses, strict=True)
    ]
    return Score(
        side=cell.side, minutes=cell.minutes, seed=cell.seed, split=split, lm=lm, compute=cell.compute,
        minutes_actual=sum(recording.duration_s for recording in labelled) / 60,
        hashes=tuple(utterance_hash(recording.id, "speechunits") for recording in recordings),
        errors=tuple(errors for errors, _ in counted), lengths=tuple(length for _, length in counted),
        all_blank=not any(hypotheses),
    )  # fmt: skip


def posteriors_path(cell: Cell, split: str, setting: Setting) -> Path:
    """Return where a cell keeps its posteriors on a split; they never leave the run folder."""
    return setting.folder / cell.name / f"{split}.posteriors.safetensors"


def has_posteriors(cell: Cell, setting: Setting) -> bool:
    """Tell whether a cell kept its posteriors: those of earlier versions did not."""
    return all(posteriors_path(cell, split, setting).exists() for split in (setting.dev, "tune"))
