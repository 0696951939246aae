"""What makes two trainings the same: a folder resumes only the training it was begun with."""

from __future__ import annotations

import hashlib
from typing import Any

from fairseq2.gang import Gangs

from speechunits.config import to_tree
from speechunits.config.pretrain import deciding_batch
from speechunits.engine.seal import TRAINING
from speechunits.engine.train import Labels, TrainingTask
from speechunits.errors import UsageError
from speechunits.learners.learner import Learner
from speechunits.run import content_key, read_json


def training_settings(learner: Learner, task: TrainingTask, gangs: Gangs) -> dict[str, Any]:
    """Return all that decides which weights come out, in JSON types; machine, threads and clock are left out."""
    batch = {name: value for name, value in deciding_batch(task.batch).items() if name != "cache_mb"}
    return {
        "batch": batch,
        "optimizer": to_tree(task.optimizer),
        "hours": task.budget.hours,
        "seed": task.seed,
        "speed": list(task.speed),
        "accumulate": task.engine.accumulate,
        "ranks": gangs.root.size,
        "parallel": task.engine.parallel if gangs.root.size > 1 else None,
        "recordings": content_key([(item.id, round(item.duration_s, 4)) for item in task.train]),
        "views": None if task.views is None else to_tree(task.views),
        "altered": task.altered or None,
        "origin": task.origin,
        "labels": None if task.labels is None else _labels_key(task.labels, task),
        # Heads, temperatures, masks, dropout: all that rebuilds the learner.
        "learner": content_key(learner.export()[1]),
        "parameters": content_key([(name, list(value.shape)) for name, value in learner.named_parameters()]),
    }


def earlier_result(task: TrainingTask, settings: dict[str, Any], resumed: int | None) -> dict[str, Any] | None:
    """Return the result of a training that is done already, None if it is to be begun or continued.

    Raises
    ------
    UsageError
        If the folder's checkpoints belong to a training with other settings.
    """
    if resumed is None:
        return None
    try:
        record = read_json(task.folder / TRAINING)
        before, result = record["settings"], record["result"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{task.folder} holds checkpoints, but its {TRAINING} cannot be read ({error}); remove the folder, or give "
            "this training another name (name=NEW)"
        ) from error
    # What an earlier version of this program did not write down cannot be compared.
    changed = [name for name in settings if name in before and settings[name] != before[name]]
    if changed:
        changes = "; ".join(f"{name} was {before[name]}, is {settings[name]}" for name in changed)
        raise UsageError(
            f"{task.folder} holds a training with other settings ({changes}); give this one another name (name=NEW), "
            "or remove the folder"
        )
    if result is None or result["steps"] != resumed:
        return None
    minutes = task.budget.minutes
    # A larger time limit than the one that ended it continues it.
    longer = result["stopped"] and (minutes is None or result["wall_s"] < 60 * minutes)
    return None if longer else dict(result)


def _labels_key(labels: Labels, task: TrainingTask) -> str:
    digest = hashlib.sha256()
    values = labels.units or labels.tokens or {}
    for item in task.train:
        digest.update(f"{item.id} {values[item.id].dtype}\n".encode())
        digest.update(values[item.id].tobytes())
    return digest.hexdigest()[:16]
