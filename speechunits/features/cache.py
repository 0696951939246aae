"""Log-mel for training, computed ahead of the model and kept where it fits: crops are slices of a recording's own."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.cache import WaveformCache, as_floats
from speechunits.audio.manifest import Recording
from speechunits.audio.store import FEATURES_SUFFIX, Kind, WaveformStore
from speechunits.features.mel import MEL_HOP, LogMel, mel_frame_count
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ

Frames = NDArray[np.float32]

_LEAST = 32
"""Frames computed at once, at least: a product of fewer rows has another order of sums, and other last bits."""


class LogMelCache:
    """Reads log-mel of stretches of recordings; safe to share between threads.

    The whole of a recording is computed once, kept in the memory that ``audio`` leaves of its limit, and put into
    ``store``: a frame has as many bytes as its samples, but is made in far less time. What is kept or not does not
    change a bit of any frame.
    """

    def __init__(
        self, recordings: Sequence[Recording], audio: WaveformCache, bins: int, store: WaveformStore | None = None
    ) -> None:
        self._recordings = recordings
        self._audio = audio
        self._store = store
        self._mel = LogMel(bins)
        # Another version, torch or processor has other last bits: what it makes of some noise tells it apart.
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ, np.float32)
        made_by = ("logmel", bins, zlib.crc32(self.of(noise).data))
        self._kind: Kind[np.float32] = Kind(FEATURES_SUFFIX, np.dtype("<f4"), bins, made_by)
        self._bins = bins
        self._kept: OrderedDict[tuple[int, float], Frames] = OrderedDict()
        """By recording and speed."""
        self._bytes = 0
        self._lock = Lock()

    @property
    def kept_bytes(self) -> int:
        """Bytes of log-mel in memory."""
        return self._bytes

    def of(self, waveform: NDArray[np.float32]) -> Frames:
        """Return the ``(M, bins)`` log-mel of ``(T,)`` samples, computed now."""
        least = (_LEAST - 1) * MEL_HOP + RECEPTIVE_FIELD
        samples = torch.zeros(1, max(len(waveform), least))
        samples[0, : len(waveform)] = torch.from_numpy(waveform)
        frames: Frames = self._mel(samples, torch.tensor([len(waveform)]))[0][0].numpy()
        return frames[: mel_frame_count(len(waveform))]

    def read(self, index: int, start: int, samples: int) -> Frames | None:
        """Return the ``(M, bins)`` log-mel of ``samples`` samples of a recording from ``start`` on, which it has.

        None where the whole recording's is not kept and cannot be, or ``start`` is between two frames.
        """
        whole = None if start % MEL_HOP else self._whole(index)
        first = start // MEL_HOP
        return None if whole is None else whole[first : first + mel_frame_count(samples)]

    def played(self, index: int, speed: float, waveform: NDArray[np.float32]) -> Frames | None:
        """Return the ``(M, bins)`` log-mel of a whole recording played ``speed`` times as fast: of ``waveform``.

        None where it is not kept and cannot be.
        """
        kept = self._find(index, speed)
        if kept is None and self._fits(4 * self._bins * mel_frame_count(len(waveform))):
            return self._keep(index, speed, self.of(waveform))
        return kept

    def _whole(self, index: int) -> Frames | None:
        """Return the log-mel of a whole recording, None where it is not kept and cannot be."""
        kept = self._find(index, 1.0)
        if kept is not None:
            return kept
        recording = self._recordings[index]
        stored = None if self._store is None else self._store.get(recording, self._kind)
        if stored is not None:
            # A copy: to find the entry costs as much as to compute the log-mel of seconds.
            return self._keep(index, 1.0, np.array(stored)) if self._fits(stored.nbytes) else stored
        samples = self._audio.kept(index)
        if samples is None:
            return None
        size = 4 * self._bins * mel_frame_count(len(samples))
        if not self._fits(size) and (self._store is None or not self._store.has_room(size)):
            return None
        frames = self.of(as_floats(samples))
        if self._store is not None:
            self._store.put(recording, frames, self._kind)
        return self._keep(index, 1.0, frames)

    def _find(self, index: int, speed: float) -> Frames | None:
        with self._lock:
            kept = self._kept.get((index, speed))
            if kept is not None:
                self._kept.move_to_end((index, speed))
            return kept

    def _keep(self, index: int, speed: float, frames: Frames) -> Frames:
        """Keep the log-mel of a whole recording in memory, where it fits; return it."""
        fits = self._fits(frames.nbytes)
        with self._lock:
            # Another thread may have been faster.
            if fits and (index, speed) not in self._kept:
                self._kept[index, speed] = frames
                self._bytes += frames.nbytes
        return frames

    def _fits(self, size: int) -> bool:
        """Forget what audio has come to need of the memory since; tell whether ``size`` bytes more fit."""
        with self._lock:
            room = self._audio.limit_bytes - self._audio.kept_bytes
            while self._kept and self._bytes > room:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
            return self._bytes + size <= room


def padded_mel(rows: Sequence[Frames], waveforms: Tensor) -> Tensor:
    """Return ``(B, M, bins)`` log-mel of ``(B, T)`` waveforms, of each row its own frames and zeros beyond them."""
    padded = np.zeros((len(rows), mel_frame_count(waveforms.shape[1]), rows[0].shape[1]), np.float32)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded)
