"""The trainings behind the reduction factor: one cell a side, label budget and seed; finished cells are kept."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechunits.asr.decode import greedy_text, recording_posteriors
from speechunits.asr.hypothesis import Precision
from speechunits.asr.posteriors import SavedPosteriors, save_posteriors
from speechunits.asr.recognizer import Recognizer
from speechunits.asr.tokens import transcript
from speechunits.audio.manifest import Recording
from speechunits.audio.split import label_list
from speechunits.cell import Cell
from speechunits.config import FIELDS, EncoderConfig, FinetuneConfig, to_tree
from speechunits.encoder.encoder import encoder_from_export
from speechunits.errors import TrainingStopped, UsageError
from speechunits.evaluation.edit import character_edits, word_edits
from speechunits.evaluation.score import Score, scores_from_json, scores_to_json, utterance_hash
from speechunits.finetuning import deciding, finetune, forget_checkpoints
from speechunits.hardware import cores, cpu_computes_bf16
from speechunits.processes import in_processes
from speechunits.run import content_key, file_hash, is_first_rank, provenance, read_json, write_json
from speechunits.setting import Setting
from speechunits.units.bundle import read_bundle, write_bundle
from speechunits.units.units import Units


def run_cells(todo: Sequence[Cell], setting: Setting) -> Iterator[tuple[Cell, list[Score]]]:
    """Yield every cell with its scores as it is finished: ``config.jobs`` at a time, each process training many.

    Of a job of several, ``NAME.log`` holds what the training had to say.
    """
    jobs = min(setting.config.jobs, len(todo))
    if jobs < 2 or torch.cuda.is_available():
        for cell in todo:
            yield cell, run_cell(cell, setting)
        return
    threads = max(1, cores() // jobs)
    yield from in_processes(partial(_run_share, setting=setting, threads=threads), todo, jobs, name="training")


def _run_share(todo: Iterable[Cell], *, setting: Setting, threads: int) -> Iterator[tuple[Cell, list[Score]]]:
    torch.set_num_threads(threads)
    setting.folder.mkdir(parents=True, exist_ok=True)
    for cell in todo:
        yield cell, _run_logged(cell, setting)


@contextmanager
def _full_disk_stops() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TrainingStopped(
            f"the disk is full ({error.filename}); trainings that were finished are kept: free some space and run the "
            "same command again"
        ) from error


@_full_disk_stops()
def _run_logged(cell: Cell, setting: Setting) -> list[Score]:
    # A training that is kept has its log, too: what is new is added.
    place = setting.kept_at(cell, cell_key(cell, setting), ".log")
    with place.open("a", encoding="utf-8") as log, redirect_stderr(log):
        return run_cell(cell, setting)


@_full_disk_stops()
def run_cell(cell: Cell, setting: Setting, *, keep: Path | None = None) -> list[Score]:
    """Train one cell and score it on dev and ``tune``, or return the scores it already has.

    ``keep`` is where to write the recogniser's bundle. Hypotheses stay beside the scores in the run folder. Of several
    ranks that train it together, the first scores it and writes; the others return no scores.
    """
    config = _config(cell, setting)
    labelled = label_list(setting.corpus.recordings, cell.minutes, cell.seed)
    held_out = _held_out(setting)
    key = cell_key(cell, setting)
    kept = kept_scores(cell, setting, key)
    if kept is not None and (keep is None or _is_of(keep, key)):
        # A process that was killed between its scores and its end left them.
        if is_first_rank():
            forget_checkpoints(setting.kept_at(cell, key))
        return kept
    recognizer, outcome = _train(cell, config, labelled, setting, setting.kept_at(cell, key))
    if not is_first_rank():
        return []
    scores = [_score(cell, recognizer, split, held, labelled, setting, key) for split, held in held_out.items()]
    if keep is not None:
        tensors, header = recognizer.export()
        made_by = {**provenance(config, setting.corpus.manifest), "key": key}
        write_bundle(keep, tensors, {**header, "provenance": made_by})
    saved = {"key": key, "outcome": outcome, "scores": scores_to_json(scores)}
    write_json(setting.kept_at(cell, key, ".json"), saved)
    forget_checkpoints(setting.kept_at(cell, key))
    return scores


def kept_scores(cell: Cell, setting: Setting, key: str) -> list[Score] | None:
    """Return the scores that a cell of this key already has, in the run folder or published; None where it has none."""
    language = setting.config.language
    # Published cells have no posteriors either.
    if language.rows and language.train_again and not setting.has_posteriors(cell, key):
        return None
    kept = _kept(cell, setting, key)
    if kept is None:
        return None
    scores = scores_from_json(kept["scores"])
    return scores if "key" in kept else [score for score in scores if cell.made(score)]


def kept_wall_s(cell: Cell, setting: Setting, key: str) -> float | None:
    """Return the seconds that the training behind :func:`kept_scores` took; None where nobody wrote them down."""
    kept = _kept(cell, setting, key) or {}
    seconds: float | None = (
        kept.get("outcome", {}).get("wall_s") if "key" in kept else kept.get("wall_s", {}).get(cell.name)
    )
    return seconds


def _kept(cell: Cell, setting: Setting, key: str) -> Mapping[str, Any] | None:
    """Return what has the scores of a cell of this key: the cell's own file, with ``key``, or a published sweep."""
    own = setting.kept_at(cell, key, ".json")
    if own.exists() and (found := read_json(own))["key"] == key:
        kept: Mapping[str, Any] = found
        return kept
    return next((each for each in setting.published if each.get("keys", {}).get(cell.name) == key), None)


def cell_key(cell: Cell, setting: Setting) -> str:
    """Return the key of all that decides a cell's scores: settings, labels, what is scored, what it starts from.

    What the files of recordings hold is not looked at, only which parts of them are heard.
    """
    config, labelled = _config(cell, setting), label_list(setting.corpus.recordings, cell.minutes, cell.seed)
    held_out = _held_out(setting)
    # Where there are no parts, and no rounds of self-training, keys are those of results that are published.
    heard = [row for rows in (labelled, *held_out.values()) for row in rows]
    rest = _unlabelled(labelled, setting) if config.self_training.rounds else []
    more = {
        "parts": [_part(row) for row in heard if (row.start_s, row.end_s) != (None, None)],
        "unlabelled": [_part(row) for row in rest],
    }
    return content_key(
        deciding(config), cell.minutes, [(recording.id, recording.text) for recording in labelled],
        {split: [(recording.id, recording.text) for recording in held] for split, held in held_out.items()},
        _source_hash(cell, setting), *([more] if any(more.values()) else []),
    )  # fmt: skip


def _part(row: Recording) -> tuple[str, float | None, float | None]:
    return row.id, row.start_s, row.end_s


def _unlabelled(labelled: Sequence[Recording], setting: Setting) -> list[Recording]:
    chosen = {recording.id for recording in labelled}
    return [recording for recording in setting.corpus.split("train") if recording.id not in chosen]


def _held_out(setting: Setting) -> dict[str, list[Recording]]:
    scored = {split: setting.scored(split) for split in (setting.dev, "tune")}
    return {split: held for split, held in scored.items() if held}


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


def _source_hash(cell: Cell, setting: Setting) -> str | None:
    """Return the hash of what a cell starts from: the encoder, the inventory, or nothing."""
    if cell.side == "units":
        return _inventory(setting).key
    return _encoder_hash(setting) if cell.side == "pretrained" else None


def encoder_of(setting: Setting) -> dict[str, Any]:
    """Return what results say of the encoder that trainings of a setting begin with (docs/formats.md)."""
    config, hours = to_tree(_architecture(setting)), dict(setting.extra_hours)
    return {"hash": _encoder_hash(setting), "config": config, "extra_hours": hours}


def _encoder_hash(setting: Setting) -> str:
    return setting.encoder_hash or file_hash(_encoder(setting))


def _inventory(setting: Setting) -> Units:
    if setting.units is None:
        raise UsageError("what reads units needs an inventory; run `speechunits run RECIPE.yaml --only units` first")
    return Units.load(setting.units)


def _encoder(setting: Setting) -> Path:
    if setting.encoder_hash is not None:
        raise UsageError(
            "this training needs the encoder that the published ones began with, but its file is gone; put it back, or "
            "run `speechunits pretrain RECIPE.yaml`: that makes another one, from which they are all trained again"
        )
    if setting.encoder is None:
        raise UsageError("this side needs a pretrained encoder; run `speechunits pretrain RECIPE.yaml` first")
    return setting.encoder


def _architecture(setting: Setting) -> EncoderConfig:
    if setting.encoder is None and setting.architecture is not None:
        return setting.architecture
    return encoder_from_export(*read_bundle(_encoder(setting), kind="encoder")).config


def _train(
    cell: Cell, config: FinetuneConfig, labelled: list[Recording], setting: Setting, folder: Path
) -> tuple[Recognizer, dict[str, Any]]:
    return finetune(
        config, labelled, setting.scored("tune"), folder=folder, name=cell.name,
        encoder=_encoder(setting) if cell.side == "pretrained" else None,
        inventory=_inventory(setting) if cell.side == "units" else None,
        unlabelled=_unlabelled(labelled, setting),
        on_fault=setting.corpus.refuse,
    )  # fmt: skip


def _score(
    cell: Cell, recognizer: Recognizer, split: str, recordings: list[Recording], labelled: list[Recording],
    setting: Setting, key: str,
) -> Score:  # fmt: skip
    precision: Precision = "bf16" if cpu_computes_bf16() else "fp32"
    found = {row.id: heard for row, heard in recording_posteriors(recognizer, recordings, precision=precision)}
    heard = {recording.id: found[recording.id] for recording in recordings}
    hypotheses = {name: greedy_text(recognizer, posteriors) for name, posteriors in heard.items()}
    write_json(setting.kept_at(cell, key) / f"{split}.json", hypotheses)
    save_posteriors(
        setting.posteriors_of(cell, key)[split],
        SavedPosteriors(key=key, tokenizer=recognizer.tokenizer, heard=heard),
    )  # fmt: skip
    return score_of(cell, split, recordings, list(hypotheses.values()), labelled, spaced=recognizer.tokenizer.spaced)


def score_of(
    cell: Cell, split: str, recordings: Sequence[Recording], hypotheses: Sequence[str], labelled: Sequence[Recording],
    *, lm: str = "", spaced: bool,
) -> Score:  # fmt: skip
    """Return the score of a cell's hypotheses on a split, over phones where ``spaced``, else over code points."""
    edits = word_edits if spaced else character_edits
    # White space is counted as tokens spell it.
    counted = [
        edits(transcript(recording), hypothesis) for recording, hypothesis in zip(recordings, hypotheses, strict=True)
    ]
    return Score(
        side=cell.side, minutes=cell.minutes, seed=cell.seed, split=split, lm=lm, compute=cell.compute,
        minutes_actual=sum(recording.duration_s for recording in labelled) / 60,
        hashes=tuple(utterance_hash(recording.id, "speechunits") for recording in recordings),
        errors=tuple(errors for errors, _ in counted), lengths=tuple(length for _, length in counted),
        all_blank=not any(hypotheses),
    )  # fmt: skip
