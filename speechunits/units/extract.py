"""Features of whole recordings through canonical windows: the same alone, batched or in chunks, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.errors import InputRefused
from speechunits.frames import MAX_WINDOW, Window, canonical_windows
from speechunits.units.features import Features

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
OnFault = Callable[[str, str], None]
"""Called with the name of a refused input and the reason."""

_MAX_ROWS = 8
_MAX_BATCH = 4 * MAX_WINDOW
"""Samples of a batch, padding included (80 s)."""
_MAX_PENDING = 8 * MAX_WINDOW
"""Samples that wait for others of equal padded length (160 s)."""


class Piece(NamedTuple):
    """The features of one window of a recording."""

    name: str
    first: int
    """The recording's frame that the features begin with."""
    features: FloatArray
    """``(S, D)``."""
    last: bool
    """No more pieces of this recording follow."""


class _Waiting(NamedTuple):
    name: str
    samples: FloatArray
    window: Window | None
    last: bool


class FeatureExtractor:
    """Cuts recordings into canonical windows and computes their features.

    A window is padded to its canonical length and only ever shares a batch with windows of the same padded length, so
    that what a frame gives depends on its window alone (one machine, precision and thread count).
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    @property
    def dim(self) -> int:
        """D."""
        return self._features.dim

    def features(self, waveform: FloatArray) -> FloatArray:
        """Return the ``(S, D)`` features of ``(T,)`` samples at 16 kHz; no rows for fewer than 400 samples."""
        return np.concatenate([piece.features for piece in self.pieces([("", waveform)])])

    def recordings(self, recordings: Iterable[Recording]) -> Iterator[tuple[Recording, FloatArray]]:
        """Yield each recording with its ``(S, D)`` features, in order. Raises InputRefused at one that cannot be read."""
        queue: list[Recording] = []

        def waveforms() -> Iterator[tuple[str, FloatArray]]:
            for recording, waveform in load_recordings(recordings):
                queue.append(recording)
                yield recording.id, waveform

        parts: list[FloatArray] = []
        for piece in self.pieces(waveforms()):
            parts.append(piece.features)
            if piece.last:
                yield queue.pop(0), np.concatenate(parts)
                parts = []

    def pieces(self, waveforms: Iterable[tuple[str, FloatArray]]) -> Iterator[Piece]:
        """Yield the features of named ``(T,)`` waveforms window by window, in order; one empty piece where no frame is.

        At most a few minutes of windows are in memory, however long a recording or the corpus.
        """
        waiting: list[_Waiting] = []
        size = 0
        for name, waveform in waveforms:
            windows: list[Window | None] = [*canonical_windows(len(waveform))] or [None]
            for index, window in enumerate(windows):
                samples = waveform[:0] if window is None else waveform[window.start : window.stop]
                waiting.append(_Waiting(name, samples, window, index == len(windows) - 1))
                size += len(samples)
                if size >= _MAX_PENDING:
                    yield from self._computed(waiting)
                    waiting, size = [], 0
        yield from self._computed(waiting)

    def _computed(self, waiting: list[_Waiting]) -> Iterator[Piece]:
        by_length: dict[int, list[int]] = {}
        for index, item in enumerate(waiting):
            if item.window is not None:
                by_length.setdefault(item.window.padded, []).append(index)
        done: dict[int, FloatArray] = {}
        for padded, indices in by_length.items():
            rows = max(1, min(_MAX_ROWS, _MAX_BATCH // padded))
            for start in range(0, len(indices), rows):
                batch = indices[start : start + rows]
                done.update(zip(batch, self._batch([waiting[index] for index in batch], padded), strict=True))
        for index, item in enumerate(waiting):
            first = 0 if item.window is None else item.window.first
            features = done.pop(index, None)
            yield Piece(
                item.name, first, np.zeros((0, self.dim), np.float32) if features is None else features, item.last
            )

    def _batch(self, items: list[_Waiting], padded: int) -> list[FloatArray]:
        waveforms = torch.zeros(len(items), padded)
        for row, item in enumerate(items):
            waveforms[row, : len(item.samples)] = torch.from_numpy(np.ascontiguousarray(item.samples))
        lengths = torch.tensor([len(item.samples) for item in items])
        features = self._features.compute(waveforms, lengths).numpy()
        return [
            # A copy, so that one row does not keep its whole batch in memory.
            features[row, item.window.skip : item.window.skip + item.window.count].copy()
            for row, item in enumerate(items)
            if item.window is not None
        ]

    def whole(self, waveform: FloatArray) -> FloatArray:
        """Return the ``(S, D)`` features of ``(T,)`` samples in one pass without windows: for comparison only."""
        lengths = torch.tensor([len(waveform)])
        return self._features.compute(torch.from_numpy(np.ascontiguousarray(waveform))[None], lengths).numpy()[0]


def load_recordings(
    recordings: Iterable[Recording], on_fault: OnFault | None = None
) -> Iterator[tuple[Recording, FloatArray]]:
    """Yield each recording with its ``(T,)`` samples at 16 kHz.

    A recording that cannot be read is handed to ``on_fault`` and left out; without it, InputRefused is raised.
    """
    for recording in recordings:
        try:
            waveform = load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s)
        except InputRefused as error:
            if on_fault is None:
                raise
            on_fault(recording.id, str(error))
            continue
        yield recording, waveform
