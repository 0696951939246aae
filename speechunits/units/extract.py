"""Features of whole recordings through canonical windows: the same alone or among others, in bounded memory."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.errors import InputRefused
from speechunits.frames import canonical_windows, frame_count
from speechunits.learners.targets import non_silent
from speechunits.units.features import Features

T = TypeVar("T")
FloatArray = NDArray[np.float32]
OnFault = Callable[[str, str], None]
"""Called with the name of a refused input and the reason."""


class Piece(NamedTuple):
    """The features of one window of a recording."""

    first: int
    """The recording's frame that the features begin with."""
    features: FloatArray
    """``(S, D)``."""
    speech: NDArray[np.bool_]
    """``(S,)``, true where the energy is within 40 dB of the loudest frame of the window."""


class FeatureExtractor:
    """Cuts recordings into canonical windows and computes their features, one padded window at a time.

    Windows are not batched: rows of equal padded length still differ in the last bit of fp32 between batch sizes
    (another matrix shape, another order of sums), and on a processor a batch is no faster.
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    @property
    def dim(self) -> int:
        """D."""
        return self._features.dim

    def pieces(self, waveform: FloatArray) -> Iterator[Piece]:
        """Yield the features of ``(T,)`` samples at 16 kHz window by window; nothing for fewer than 400 samples."""
        for window in canonical_windows(len(waveform)):
            padded = torch.zeros(1, window.padded)
            length = window.stop - window.start
            padded[0, :length] = torch.from_numpy(np.ascontiguousarray(waveform[window.start : window.stop]))
            with one_thread():
                features = self._features.compute(padded, torch.tensor([length])).numpy()[0]
                speech = non_silent(padded, torch.tensor([frame_count(length)])).numpy()[0]
            kept = slice(window.skip, window.skip + window.count)
            yield Piece(window.first, features[kept], speech[kept])

    def features(self, waveform: FloatArray) -> FloatArray:
        """Return the ``(S, D)`` features of ``(T,)`` samples at 16 kHz; no rows for fewer than 400 samples."""
        return np.concatenate(
            [np.zeros((0, self.dim), np.float32), *(piece.features for piece in self.pieces(waveform))]
        )

    def whole(self, waveform: FloatArray) -> FloatArray:
        """Return the ``(S, D)`` features of ``(T,)`` samples in one pass without windows: for comparison only."""
        lengths = torch.tensor([len(waveform)])
        samples = torch.from_numpy(np.ascontiguousarray(waveform))[None]
        features: FloatArray = self._features.compute(samples, lengths)[0].numpy()
        return features


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one torch thread: units then depend on no thread count, and recordings are spread over cores instead.

    Single windows are small: on two threads they gained little alone, and lost much where a core was busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_recordings(
    function: Callable[[FloatArray], T],
    recordings: Iterable[Recording],
    on_fault: OnFault | None = None,
    *,
    workers: int | None = None,
) -> Iterator[tuple[Recording, T]]:
    """Yield each recording with ``function`` of its ``(T,)`` samples at 16 kHz, in order, decoded and computed ahead.

    A recording that cannot be read is handed to ``on_fault`` and left out; without it, InputRefused is raised.
    """
    count = len(os.sched_getaffinity(0)) if workers is None else workers

    def compute(recording: Recording) -> T:
        return function(load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s))

    with one_thread(), ThreadPoolExecutor(count) as pool:
        queue: deque[tuple[Recording, Future[T]]] = deque()
        rest = iter(recordings)
        try:
            while True:
                # A bounded queue: memory holds a few recordings, however many there are.
                queue.extend((row, pool.submit(compute, row)) for row in itertools.islice(rest, 4 * count - len(queue)))
                if not queue:
                    return
                recording, future = queue.popleft()
                try:
                    result = future.result()
                except InputRefused as error:
                    if on_fault is None:
                        raise
                    on_fault(recording.id, str(error))
                    continue
                yield recording, result
        finally:
            for _, future in queue:
                future.cancel()


def load_recordings(
    recordings: Iterable[Recording], on_fault: OnFault | None = None
) -> Iterator[tuple[Recording, FloatArray]]:
    """Yield each recording with its ``(T,)`` samples at 16 kHz, in order; faults as in :func:`map_recordings`."""
    return map_recordings(lambda waveform: waveform, recordings, on_fault)
