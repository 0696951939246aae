"""Feeds fairseq2's Trainer: batches in the sampler's order, decoded ahead in the background."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
from fairseq2.datasets import DataReader
from fairseq2.device import SupportsDeviceTransfer
from numpy.typing import NDArray

from speechunits.audio.augment import augment, make_views
from speechunits.audio.batch import AudioBatch, Row, collate
from speechunits.audio.cache import WaveformCache
from speechunits.audio.manifest import Recording
from speechunits.audio.resample import resample
from speechunits.audio.sampler import Batch, Piece, Sampler
from speechunits.audio.store import WaveformStore
from speechunits.config import ViewsConfig
from speechunits.engine.journal import Journal
from speechunits.engine.train import Labels
from speechunits.errors import InputRefused, TrainingStopped
from speechunits.features.cache import LogMelCache, padded_mel
from speechunits.frames import HOP, SAMPLE_RATE_HZ, frame_count, frame_counts
from speechunits.learners.targets import non_silent

_WORKERS = 2
"""Decoding threads: one decodes hundreds of times faster than a step trains, the other hides a slow file."""
_AHEAD = 4
"""Steps decoded ahead: bounds memory."""


def derived_seed(*numbers: int) -> int:
    """Return a 62-bit seed that is a function of ``numbers``, for generators independent of each other."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0]) >> 2


@dataclass
class EngineBatch(SupportsDeviceTransfer):
    """An :class:`AudioBatch` that moves in place, as the Trainer expects, with the seed of its dropout."""

    audio: AudioBatch
    dropout_seed: int

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move the batch to another device."""
        if self.audio.waveforms.device != device:
            self.audio = self.audio.to(device, non_blocking=non_blocking)


class Loader:
    """Turns planned batches into tensors; a piece that cannot be read is left out, its recording named and counted.

    Only that piece: the fault may be of a part of the recording, and which part is read first is up to the threads.

    With ``views`` every row is two views of its piece, drawn by the seed of the batch; with a share ``altered`` above
    0, so many rows are altered in place instead. With ``mel_bins`` batches bring their log-mel along where that
    of most of their rows is kept, with ``mel_always`` all do, so that the model need not compute it.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: Labels | None,
        cache_mb: float,
        refused: set[str],
        views: ViewsConfig | None = None,
        altered: float = 0.0,
        store: WaveformStore | None = None,
        mel_bins: int | None = None,
        *,
        mel_always: bool = False,
    ) -> None:
        self._altered = altered
        self._views = views
        self._recordings = recordings
        self._labels = labels
        self._cache = WaveformCache(recordings, cache_mb, store)
        self._mel = None if mel_bins is None else LogMelCache(recordings, self._cache, mel_bins, store)
        self._mel_always = mel_always
        self._refused = refused
        self._lost: set[Piece] = set()
        self._lock = Lock()

    def is_lost(self, piece: Piece) -> bool:
        """Tell whether a piece of a batch was left out."""
        return piece in self._lost

    def batch(self, planned: Batch, seed: int) -> AudioBatch | None:
        """Return the batch, or None if none of its recordings can be read."""
        rows = [row for row in map(self._row, planned) if row is not None]
        if self._views is not None:
            generators = np.random.default_rng(seed).spawn(len(rows))
            view = self._alter if self._altered else self._view
            rows = [view(row, self._views, generator) for row, generator in zip(rows, generators, strict=True)]
        return self._with_mel(collate(rows, seed=seed), rows) if rows else None

    def _row(self, piece: Piece) -> Row | None:
        recording = self._recordings[piece.index]
        identity = recording.id
        try:
            waveform = self._cache.read(piece.index, piece.start, piece.stop)
            units = self._units(identity, piece, len(waveform))
        except InputRefused as error:
            self._leave_out(piece, identity, str(error))
            return None
        if piece.speed != 1.0:
            # Played faster = recorded at a higher rate; the sampler planned with this length.
            waveform = resample(waveform, SAMPLE_RATE_HZ * piece.speed)[: piece.samples]
        tokens = None if self._labels is None or self._labels.tokens is None else self._labels.tokens[identity]
        mel = None if self._mel is None else self._known_mel(self._mel, piece, waveform)
        return Row(id=identity, waveform=waveform, units=units, tokens=tokens, speaker=recording.speaker or "", mel=mel)

    def _leave_out(self, piece: Piece, identity: str, reason: str) -> None:
        with self._lock:
            self._lost.add(piece)
            named = identity in self._refused
            self._refused.add(identity)
        if not named:
            print(f"left out of training: {reason}", file=sys.stderr, flush=True)

    def _known_mel(self, mel: LogMelCache, piece: Piece, waveform: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the log-mel of a piece where it is kept; None too where what is made of the piece has another."""
        if self._views is not None and not self._altered:
            return None
        if piece.speed == 1.0:
            return mel.read(piece.index, piece.start, len(waveform))
        whole = piece.start == 0 and piece.stop == round(self._recordings[piece.index].duration_s * SAMPLE_RATE_HZ)
        return mel.played(piece.index, piece.speed, waveform) if whole else None

    def _with_mel(self, audio: AudioBatch, rows: Sequence[Row]) -> AudioBatch:
        """Return the batch with the log-mel of its rows, what is not kept computed now; without where that is most.

        To compute it here takes as much of the processor as in the model, or more where two threads share a core.
        """
        known = sum(row.mel is not None for row in rows)
        if self._mel is None or not (self._mel_always or 2 * known >= len(rows)):
            return audio
        mel = padded_mel([self._mel.of(row.waveform) if row.mel is None else row.mel for row in rows], audio.waveforms)
        if audio.second is None:
            return audio._replace(mel=mel)
        seconds = [self._mel.of(row.second) for row in rows if row.second is not None]
        return audio._replace(mel=mel, second_mel=padded_mel(seconds, audio.second))

    @staticmethod
    def _view(row: Row, config: ViewsConfig, generator: np.random.Generator) -> Row:
        views = make_views(row.waveform, config, generator)
        # One more frame, without speech, for moments that are no frame of the piece: -1 is the last one.
        speech = np.append(_speech(row.waveform), np.False_)[views.origins]
        return row._replace(waveform=views.first, second=views.second, matches=views.matches, speech=speech)

    def _alter(self, row: Row, config: ViewsConfig, generator: np.random.Generator) -> Row:
        row = row._replace(speech=_speech(row.waveform))
        if generator.random() >= self._altered:
            return row
        return row._replace(waveform=augment(row.waveform, config, generator), mel=None)

    def _units(self, identity: str, piece: Piece, samples: int) -> NDArray[np.integer] | None:
        if self._labels is None or self._labels.units is None:
            return None
        first, count = piece.start // HOP, frame_count(samples)
        units = self._labels.units[identity][first : first + count]
        if len(units) < count:
            raise InputRefused(
                f"{identity} must have a unit for each of the frames {first} to {first + count}, but has "
                f"{len(self._labels.units[identity])} in all; its units were made from other audio: make them again"
            )
        return units


def _speech(waveform: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return ``(S,)``, true at the frames of ``(T,)`` samples that are not silent."""
    length = torch.tensor([len(waveform)])
    speech: NDArray[np.bool_] = non_silent(torch.from_numpy(waveform)[None], frame_counts(length))[0].numpy()
    return speech


class Reader(DataReader[EngineBatch]):
    """An endless reader: epochs follow each other inside, so that only the budget ends a training."""

    def __init__(
        self, sampler: Sampler, loader: Loader, journal: Journal, *, rank: int, world: int, accumulate: int, seed: int
    ) -> None:
        self._sampler = sampler
        self._loader = loader
        self._journal = journal
        self._rank, self._world, self._accumulate, self._seed = rank, world, accumulate, seed
        self._epoch = self._position = self._step = 0
        self._executor = ThreadPoolExecutor(_WORKERS, thread_name_prefix="speechunits-reader")
        self._ahead: deque[Future[list[EngineBatch]]] = deque()
        self._planned = (0, 0, 0)
        """Epoch, position and step of the next step to put into ``_ahead``."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[EngineBatch]:
        while len(self._ahead) < _AHEAD:
            self._ahead.append(self._executor.submit(self._load, *self._planned))
            epoch, position, step = self._planned
            self._planned = (*self._next(epoch, position), step + 1)
        batches = self._ahead.popleft().result()
        planned = self._sampler.step(self._epoch, self._position)
        seen = (piece for batch in planned for piece in batch if not self._loader.is_lost(piece))
        self._journal.audio_s += sum(piece.source_s for piece in seen)
        self._epoch, self._position = self._next(self._epoch, self._position)
        self._step += 1
        return batches

    def _next(self, epoch: int, position: int) -> tuple[int, int]:
        return (epoch, position + 1) if position + 1 < self._sampler.steps(epoch) else (epoch + 1, 0)

    def _load(self, epoch: int, position: int, step: int) -> list[EngineBatch]:
        planned = self._sampler.step(epoch, position)
        batches = []
        for turn in range(self._accumulate):
            place = turn * self._world + self._rank
            # The place in the global order, not the rank, makes the seed: two ranks equal two batches accumulated.
            number = step * self._sampler.per_step + place
            audio = self._first_readable(planned[place], epoch, derived_seed(self._seed, number, 0))
            batches.append(EngineBatch(audio, derived_seed(self._seed, number, 1)))
        return batches

    def _first_readable(self, planned: Batch, epoch: int, seed: int) -> AudioBatch:
        for candidate in (planned, *self._sampler.epoch(epoch)):
            audio = self._loader.batch(candidate, seed)
            if audio is not None:
                return audio
        raise TrainingStopped(
            "none of the training recordings can be read (see the messages above); check the manifest with "
            "`speechunits manifest`"
        )

    def reset(self) -> None:
        """Go back to the first batch."""
        self._seek(0, 0, 0)

    def _seek(self, epoch: int, position: int, step: int) -> None:
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._epoch, self._position, self._step = self._planned = (epoch, position, step)

    def state_dict(self) -> dict[str, object]:
        """Return where the reader is, and the journal."""
        return {"place": [self._epoch, self._position, self._step], "journal": self._journal.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._journal.restore(state_dict["journal"])
        epoch, position, step = state_dict["place"]
        # Another version may have made more batches of the epoch.
        if position >= self._sampler.steps(epoch):
            epoch, position = epoch + 1, 0
        self._seek(epoch, position, step)

    @property
    def num_accumulate(self) -> int:
        """Batches of a step on this rank."""
        return self._accumulate

    def close(self) -> None:
        """Stop decoding ahead."""
        self._executor.shutdown(cancel_futures=True)
