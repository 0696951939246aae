"""One recogniser from labelled recordings, and from those it labels itself where that is asked for."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.asr.decode import recording_posteriors
from speechunits.asr.hypothesis import Precision, best_labels, make_hypothesis
from speechunits.asr.recognizer import Recognizer, build_recognizer
from speechunits.asr.tokens import Tokenizer, build_tokenizer, usable
from speechunits.audio.manifest import Recording
from speechunits.config import FinetuneConfig, to_tree
from speechunits.config.pretrain import deciding_batch
from speechunits.encoder.encoder import encoder_from_export
from speechunits.engine import seal
from speechunits.engine.train import Labels, train
from speechunits.errors import UsageError
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.hardware import cpu_computes_bf16
from speechunits.run import content_key, file_hash, is_first_rank, rank_and_size, read_json, write_json
from speechunits.units.bundle import read_bundle
from speechunits.units.extract import OnFault
from speechunits.units.kept import awaited
from speechunits.units.units import Units


def finetune(
    config: FinetuneConfig,
    labelled: Sequence[Recording],
    tune: Sequence[Recording],
    *,
    folder: Path,
    name: str,
    encoder: Path | None = None,
    inventory: Units | None = None,
    unlabelled: Sequence[Recording] = (),
    on_fault: OnFault | None = None,
) -> tuple[Recognizer, dict[str, Any]]:
    """Train a recogniser; return it in evaluation mode, and what its training was like.

    With ``config.self_training.rounds``, the recogniser labels ``unlabelled``, those it is surest of are added to the
    labelled ones, and the next recogniser is trained from the start on both (Kahn et al. 2020; their texts never count
    as labels); one that cannot be read is handed to ``on_fault``. The tokens are those of ``labelled`` throughout. An
    interrupted training resumes from ``folder``, where :func:`forget_checkpoints` removes what it would resume from.

    Raises
    ------
    UsageError
        If none of the labelled recordings can be trained on.
    """
    tokenizer = build_tokenizer((recording.text or "" for recording in labelled), config.tokens, config.pieces)
    recognizer, outcome = _once(config, labelled, tune, tokenizer, folder, name, encoder, inventory)
    for number in range(1, config.self_training.rounds + 1):
        place = folder / f"round{number}"
        own = _own_labels(recognizer, config, labelled, unlabelled, place / "labels.json", on_fault)
        print(f"{name}: round {number} adds the {len(own)} of {len(unlabelled)} unlabelled recordings it is surest of",
              file=sys.stderr)  # fmt: skip
        recognizer, latest = _once(
            config, [*labelled, *own], tune, tokenizer, place, f"{name} (round {number})", encoder, inventory,
        )  # fmt: skip
        rounds = [*outcome.get("rounds", []), {"self_labelled": len(own), "audio_hours": latest["audio_hours"]}]
        heard = {name: outcome[name] + latest[name] for name in ("steps", "audio_hours", "wall_s")}
        outcome = {**latest, **heard, "rounds": rounds}
    return recognizer, outcome


def deciding(config: FinetuneConfig) -> dict[str, Any]:
    """Return the settings that decide which weights come out; threads and reporting do not."""
    tree: dict[str, Any] = to_tree(config)
    # Evaluations decide nothing, unless training ends by them.
    decisive = ("precision", "accumulate", *(["held_out_evaluations"] if config.patience else []))
    tree["engine"] = {name: tree["engine"][name] for name in decisive}
    tree["batch"] = deciding_batch(config.batch)
    return tree


def forget_checkpoints(folder: Path) -> None:
    """Remove all that a fine-tuning in ``folder`` could be resumed from: what it came to is kept elsewhere."""
    for place in (folder, *folder.glob("round*")):
        seal.forget_checkpoints(place)


def self_labelled(
    recognizer: Recognizer, recordings: Sequence[Recording], share: float, on_fault: OnFault | None = None
) -> list[Recording]:
    """Return the ``share`` of the recordings that the recogniser is surest of, with its greedy texts as theirs.

    Sure is the mean over tokens of their mean posterior; what it hears nothing in is left out first. A recording that
    cannot be read is handed to ``on_fault``; without it InputRefused is raised.
    """
    precision: Precision = "bf16" if cpu_computes_bf16() else "fp32"
    found = []
    for recording, posteriors in recording_posteriors(recognizer, recordings, precision=precision, on_fault=on_fault):
        samples = round(recording.duration_s * SAMPLE_RATE_HZ)
        labels = best_labels(posteriors)
        hypothesis = make_hypothesis(recognizer, recording.id, samples, labels, posteriors)
        if hypothesis.confidence is not None and hypothesis.text.strip():
            found.append((hypothesis.confidence, replace(recording, text=hypothesis.text)))
    found.sort(key=lambda item: (-item[0], item[1].id))
    return [recording for _, recording in found[: round(share * len(found))]]


def _own_labels(
    recognizer: Recognizer, config: FinetuneConfig, labelled: Sequence[Recording], unlabelled: Sequence[Recording],
    path: Path, on_fault: OnFault | None,
) -> list[Recording]:  # fmt: skip
    """Return :func:`self_labelled`; of several ranks the first listens, and the others wait for what it heard.

    Did each listen for itself, a posterior that differed in its last bit could give them other texts to train on.
    """
    if rank_and_size()[1] == 1:
        return self_labelled(recognizer, unlabelled, config.self_training.share, on_fault)
    heard = [[(row.id, row.text) for row in rows] for rows in (labelled, unlabelled)]
    key = content_key(deciding(config), *heard, path.parent.name)
    if is_first_rank():
        found = self_labelled(recognizer, unlabelled, config.self_training.share, on_fault)
        write_json(path, {"key": key, "texts": {row.id: row.text for row in found}})
        return found

    def made() -> dict[str, str] | None:
        saved = read_json(path) if path.exists() else {}
        return saved["texts"] if saved.get("key") == key else None

    rows = {row.id: row for row in unlabelled}
    return [replace(rows[name], text=text) for name, text in awaited(made).items()]


def _once(
    config: FinetuneConfig,
    labelled: Sequence[Recording],
    tune: Sequence[Recording],
    tokenizer: Tokenizer,
    folder: Path,
    name: str,
    encoder: Path | None,
    inventory: Units | None,
) -> tuple[Recognizer, dict[str, Any]]:
    fastest = max(config.augment.speed)
    kept, left_out = usable(labelled, tokenizer, fastest=fastest, longest_s=config.batch.crop_s)
    for recording, reason in left_out:
        print(f"{name}: {recording.id} is left out: {reason}", file=sys.stderr)
    if not kept:
        raise UsageError(f"{name}: none of the {len(labelled)} labelled recordings can be trained on")
    unseen: Counter[str] = Counter()
    held_out, _ = usable(tune, tokenizer, longest_s=config.batch.crop_s)
    tokens = {item.id: np.array(tokenizer.encode(item.text or "", unseen)) for item in [*kept, *held_out]}
    pretrained = encoder_from_export(*read_bundle(encoder, kind="encoder")) if encoder is not None else None
    times = 3600 * config.budget.hours / sum(recording.duration_s for recording in kept)
    masked = replace(config, augment=config.augment.heard(times))
    recognizer = build_recognizer(masked, tokenizer, pretrained, inventory)
    origin = content_key(deciding(config), None if encoder is None else file_hash(encoder), inventory and inventory.key)
    result = train(
        recognizer, folder=folder, train=kept, held_out=held_out, labels=Labels(tokens=tokens), batch=config.batch,
        optimizer=config.optimizer, budget=config.budget, engine=config.engine, seed=config.seed, label=name,
        speed=config.augment.speed, lasting=False, patience=config.patience, origin=origin,
    )  # fmt: skip
    recognizer.finish()
    never = recognizer.alignments.never()
    unaligned = [recording.id for recording in kept if recording.id in never]
    for each in unaligned:
        print(f"{name}: {each} taught nothing: its text needs more frames than the speech in it has; is it the text of "
              "another recording?", file=sys.stderr)  # fmt: skip
    if len(unaligned) == len(kept):
        raise UsageError(f"{name}: none of the {len(kept)} labelled recordings could be trained on; check their texts")
    outcome = {
        "steps": result.steps, "audio_hours": result.audio_hours, "wall_s": result.wall_s,
        "left_out": len(left_out) + len(unaligned),
        "skipped_batches": result.skipped_batches,
        "unseen_characters": dict(unseen), "tokens": len(tokenizer), "stopped": result.stopped,
    }  # fmt: skip
    return recognizer.eval(), outcome
