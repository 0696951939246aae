"""The seal of a checkpoint: which files it has and their hashes. Nothing in it is read before they match."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechunits.run import atomic_path, file_hash, read_json, write_json

SEAL = "checkpoint.json"
"""Lists the files of a checkpoint with their hashes; written last, so that a checkpoint without it is not whole."""
ENCODER = "encoder.safetensors"
TRAINING = "training.json"
"""Settings a training was started with, and its result once it is done."""


def write_seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Seal a checkpoint whose files are all written."""
    files = {str(file.relative_to(folder)): file_hash(file) for file in _files(folder)}
    write_json(folder / SEAL, {**facts, "files": files})
    _flush_folder(folder.parent)


def settle(folder: Path) -> int | None:
    """Return the step of the newest checkpoint whose files match their hashes; move faulty ones aside, saying so."""
    for leftover in (folder / "checkpoints").glob("step_*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    for step in reversed(_steps(folder)):
        place = step_folder(folder, step)
        fault = _fault(place)
        if fault is None:
            return step
        aside = place.with_suffix(".corrupt")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        print(f"the checkpoint of step {step} is corrupt ({fault}): moved to {aside}", file=sys.stderr, flush=True)
    return None


def newest(folder: Path) -> int | None:
    """Return the step of the newest checkpoint, or None."""
    steps = _steps(folder)
    return steps[-1] if steps else None


def forget_checkpoints(folder: Path) -> None:
    """Remove all that a training in a folder could be resumed from: what it came to is kept elsewhere."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / TRAINING).unlink(missing_ok=True)


def known_metrics(folder: Path, step: int) -> list[str]:
    """Return the names of the learner's metrics at a checkpoint."""
    return list(read_json(step_folder(folder, step) / SEAL)["metrics"])


def publish_encoder(folder: Path, step: int) -> None:
    """Copy the encoder of a checkpoint to the training's folder."""
    with atomic_path(folder / ENCODER) as temporary:
        shutil.copyfile(step_folder(folder, step) / ENCODER, temporary)


def _steps(folder: Path) -> list[int]:
    names = (path.name.removeprefix("step_") for path in (folder / "checkpoints").glob("step_*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdigit())


def step_folder(folder: Path, step: int) -> Path:
    """Return the folder of a checkpoint."""
    return folder / "checkpoints" / f"step_{step}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)


def _fault(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint: nothing in it is unpickled before this says None."""
    try:
        hashes = read_json(folder / SEAL)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it was not finished: {SEAL} cannot be read, {error}"
    found = {str(file.relative_to(folder)) for file in _files(folder)}
    if found != set(hashes):
        return f"files are missing or too many: {', '.join(sorted(found ^ set(hashes)))}"
    wrong = [name for name, expected in hashes.items() if file_hash(folder / name) != expected]
    return f"changed since it was written: {', '.join(wrong)}" if wrong else None


def _flush_folder(folder: Path) -> None:
    """Make renames within a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
