"""Decoded recordings kept as 16-bit samples in memory, the least recently used forgotten first, and on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.audio.store import AUDIO, WaveformStore
from speechunits.errors import InputRefused
from speechunits.frames import SAMPLE_RATE_HZ

_WHOLE_S = 60.0
"""Longer recordings are read by seeking and not kept: one of three hours would push out everything else."""
_SCALE = 32768.0


class WaveformCache:
    """Reads stretches of recordings; safe to share between threads.

    Samples are rounded to 16 bits whether they are kept or not, so that training does not depend on what fits. What
    ``store`` has is read through its map, whose memory all processes share; what it does not have is put there, and
    kept in memory as well.
    """

    def __init__(self, recordings: Sequence[Recording], limit_mb: float, store: WaveformStore | None = None) -> None:
        self._store = store
        self._recordings = recordings
        self._limit = int(limit_mb * 1_000_000)
        self._kept: OrderedDict[int, NDArray[np.int16]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def kept_bytes(self) -> int:
        """Bytes of audio in memory."""
        return self._bytes

    @property
    def limit_bytes(self) -> int:
        """Most bytes kept in memory."""
        return self._limit

    def kept(self, index: int) -> NDArray[np.int16] | None:
        """Return the ``(T,)`` 16-bit samples of a whole recording, None where they would have to be decoded."""
        with self._lock:
            kept = self._kept.get(index)
        if kept is not None or self._store is None or self._is_long(index):
            return kept
        return self._store.get(self._recordings[index], AUDIO)

    def read(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples ``start`` to ``stop`` (fewer where the recording ends before) of a recording, at 16 kHz.

        Raises
        ------
        InputRefused
            If the recording cannot be decoded, or ends before ``start``.
        """
        recording = self._recordings[index]
        samples = _load(recording, start, stop) if self._is_long(index) else self._whole(index)[start:stop]
        if not len(samples):
            raise InputRefused(
                f"{recording.audio} must reach second {start / SAMPLE_RATE_HZ:.2f}, but ends before; its manifest row "
                "states another duration: make the manifest again"
            )
        return as_floats(samples)

    def _is_long(self, index: int) -> bool:
        return self._recordings[index].duration_s > _WHOLE_S

    def _whole(self, index: int) -> NDArray[np.int16]:
        with self._lock:
            kept = self._kept.get(index)
            if kept is not None:
                self._kept.move_to_end(index)
                return kept
        recording = self._recordings[index]
        stored = None if self._store is None else self._store.get(recording, AUDIO)
        if stored is not None:
            return stored
        samples = _load(recording, 0, None)
        if self._store is not None:
            self._store.put(recording, samples, AUDIO)
        with self._lock:
            # Another thread may have been faster.
            if index not in self._kept and samples.nbytes <= self._limit:
                self._kept[index] = samples
                self._bytes += samples.nbytes
                while self._bytes > self._limit:
                    self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return samples


def as_floats(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return ``(T,)`` 16-bit samples within [-1, 1]."""
    return samples.astype(np.float32) / np.float32(_SCALE)


def _load(recording: Recording, start: int, stop: int | None) -> NDArray[np.int16]:
    offset_s = recording.start_s or 0.0
    if start == 0 and stop is None:
        waveform = load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s)
    else:
        end_s = recording.end_s if stop is None else offset_s + stop / SAMPLE_RATE_HZ
        waveform = load_waveform(recording.audio, start_s=offset_s + start / SAMPLE_RATE_HZ, end_s=end_s)
    rounded: NDArray[np.int16] = np.rint(np.clip(waveform * _SCALE, -_SCALE, _SCALE - 1)).astype(np.int16)
    return rounded
