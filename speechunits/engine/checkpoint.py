"""fairseq2's checkpoints made safe: hashed, flushed, checked before they are read, with a way back to the older one."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from fairseq2.checkpoint import StandardCheckpointManager
from fairseq2.checkpoint.manager import CheckpointStateNotValidError
from fairseq2.error import OperationalError
from fairseq2.file_system import LocalFileSystem
from fairseq2.gang import Gangs
from fairseq2.io import TensorFileDumper, TensorFileDumpOptions, TensorFileLoader, TensorFileLoadOptions
from fairseq2.utils.threading import ThreadPool

from speechunits.engine.journal import Journal
from speechunits.engine.machine import whole
from speechunits.engine.seal import ENCODER, SEAL, newest, step_folder, write_seal
from speechunits.engine.unit import LearnerUnit
from speechunits.errors import TrainingStopped
from speechunits.learners.learner import Learner
from speechunits.units.bundle import write_bundle


class _Dumper(TensorFileDumper):
    def dump(self, data: Mapping[str, object], file: Path, options: TensorFileDumpOptions | None = None) -> None:
        # Through memory: torch reports a full disk as an error of its own that does not say so.
        buffer = io.BytesIO()
        torch.save(dict(data), buffer, pickle_protocol=2 if options is None else options.pickle_protocol)
        with file.open("wb") as stream:
            stream.write(buffer.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())


class _Loader(TensorFileLoader):
    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, Any]:
        options = options or TensorFileLoadOptions()
        state: dict[str, Any] = torch.load(file, "cpu", weights_only=options.restrict)
        return state


class _NoPool(ThreadPool):
    """Saving waits until it is done: a training that goes on meanwhile may die before the seal."""

    def queue(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(callback(*args, **kwargs))
        return future


class SealedCheckpoints(StandardCheckpointManager):  # type: ignore[misc]  # final, but has no hook before its callback
    """fairseq2's checkpoints in ``folder/checkpoints``, each sealed with its hashes.

    Those that are ``lasting`` have their ``encoder.safetensors``; else there are some while the training goes on, and
    none of its end, since the weights are in memory then.
    """

    def __init__(
        self, folder: Path, gangs: Gangs, learner: Learner, journal: Journal, unit: LearnerUnit,
        *, total_steps: int, lasting: bool,
    ) -> None:  # fmt: skip
        super().__init__(folder, gangs, LocalFileSystem(), _Loader(), _Dumper(), _NoPool())
        self._root = gangs.root
        self._folder = folder
        self._learner = learner
        self._journal = journal
        self._unit = unit
        self._total_steps = total_steps
        self._lasting = lasting

    def save_checkpoint(
        self, step_nr: int, *states: Any, saved_callback: Callable[[int, bool], None] | None = None, **options: Any
    ) -> None:
        """Save, seal, then let older ones go.

        Nothing is saved of the end of a training whose checkpoints do not last, unless a signal has it come again.

        Raises
        ------
        TrainingStopped
            If the disk is full or cannot be written to; the previous checkpoint stays.
        """
        ended = step_nr >= self._total_steps or self._journal.stopped is not None
        if ended and not self._lasting and not self._journal.stopping:
            return

        def seal(step_nr: int, blocking: bool) -> None:  # noqa: FBT001 - fairseq2's signature
            self._seal(step_nr)
            if saved_callback is not None:
                saved_callback(step_nr, blocking)

        try:
            super().save_checkpoint(step_nr, *states, **{**options, "saved_callback": seal, "blocking": True})
        except (OperationalError, CheckpointStateNotValidError, OSError) as error:
            cause = error.__cause__ or error
            unfinished = step_folder(self._folder, step_nr)
            if not (unfinished / SEAL).exists():
                shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(unfinished.with_suffix(".tmp"), ignore_errors=True)
            kept = newest(self._folder)
            before = "there is no earlier one" if kept is None else f"the one of step {kept} is kept"
            raise TrainingStopped(
                f"the checkpoint of step {step_nr} cannot be saved in {self._folder}: {cause}; {before}. Free disk "
                "space, then start the same command: it resumes"
            ) from error

    def save_score(self, step_nr: int, score: float) -> None:
        """Keep no score files: the history has every evaluation."""

    def _seal(self, step: int) -> None:
        folder = step_folder(self._folder, step)
        if self._lasting:
            tensors, header = self._learner.export()
            tensors = {name: whole(tensor) for name, tensor in tensors.items()}
            if self._root.rank == 0:
                training = {"steps": step, "audio_hours": self._journal.audio_s / 3600}
                write_bundle(folder / ENCODER, tensors, {**header, "training": training})
        if self._root.rank == 0:
            write_seal(folder, {"step": step, "metrics": sorted(self._unit.metric_names)})
        self._root.barrier()
