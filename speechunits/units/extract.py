"""Features of whole recordings through canonical windows: the same alone or among others, in bounded memory."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.errors import InputRefused
from speechunits.frames import (
    CORE_FRAMES,
    MAX_WINDOW,
    Window,
    canonical_windows,
    frame_count,
    window_from,
    window_start,
    window_stop,
)
from speechunits.hardware import cores
from speechunits.learners.targets import non_silent
from speechunits.units.features import Features

T = TypeVar("T")
Item = TypeVar("Item")
FloatArray = NDArray[np.float32]
OnFault = Callable[[str, str], None]
"""Called with the name of a refused input and the reason."""


_WAITING = 1
"""Recordings whose features may wait beside those being computed: an hour's are half a gigabyte."""
_thread = threading.local()
"""``given_up`` of a thread that computes ahead: set when nobody waits for its result any more."""


def check_wanted() -> None:
    """End what is computed for nobody: an interruption must not wait for the end of a recording of hours."""
    given_up: threading.Event | None = getattr(_thread, "given_up", None)
    if given_up is not None and given_up.is_set():
        raise CancelledError


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
        self.source = features

    @property
    def dim(self) -> int:
        """D."""
        return self.source.dim

    def pieces(self, waveform: FloatArray) -> Iterator[Piece]:
        """Yield the features of ``(T,)`` samples at 16 kHz window by window; nothing for fewer than 400 samples."""
        return self.stream([waveform])

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[Piece]:
        """Yield what :meth:`pieces` yields for the blocks end to end, with one window of them in memory at a time."""
        for window, samples in cut_windows(blocks, causal=self.source.causal):
            check_wanted()
            padded = torch.zeros(1, window.padded)
            length = len(samples)
            padded[0, :length] = torch.from_numpy(np.ascontiguousarray(samples))
            with one_thread(), exact_products(self.source.device):
                device = self.source.device
                features = (
                    self.source.compute(padded.to(device), torch.tensor([length], device=device)).cpu().numpy()[0]
                )
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
        features: FloatArray = self.source.compute(samples, lengths)[0].numpy()
        return features


def cut_windows(blocks: Iterable[FloatArray], *, causal: bool = False) -> Iterator[tuple[Window, FloatArray]]:
    """Yield the canonical windows of a waveform that arrives in blocks, each with its samples, as soon as it is whole.

    The windows are those of :func:`canonical_windows` for all the samples, of which only a window and a block are held.
    """
    held, start, rest, first = np.zeros(0, np.float32), 0, iter(blocks), 0
    ended = False
    while True:
        # Until the waveform is longer than one window may be, it could still be one window.
        wanted = window_stop(first) + 1 if causal else max(MAX_WINDOW + 1, window_stop(first) + 1)
        parts, size = [held], start + len(held)
        while size < wanted and not ended:
            block = next(rest, None)
            if block is None:
                ended = True
            else:
                parts.append(block)
                size += len(block)
        parts = [part for part in parts if len(part)]
        # One part is not copied: a whole waveform is one block.
        held = parts[0] if len(parts) == 1 else np.concatenate([held[:0], *parts])
        if ended:
            for window in canonical_windows(size, causal=causal)[first // CORE_FRAMES :]:
                yield window, held[window.start - start : window.stop - start]
            return
        # More samples follow than this window reads: it is what it would be in any longer recording.
        window = window_from(first, wanted)
        yield window, held[window.start - start : window.stop - start]
        first += CORE_FRAMES
        keep = window_start(first)
        held, start = held[keep - start :], keep


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


class _ExactProducts:
    """cuDNN's switch, one for all threads: the first that needs exact products turns it off, the last on again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._switched = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                cudnn = torch.backends.cudnn
                # What is not given would be switched off.
                self._switched.enter_context(
                    cudnn.flags(
                        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic,
                        allow_tf32=False,
                    )
                )  # fmt: skip
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._switched.close()


_exact_products = _ExactProducts()


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Keep a GPU from rounding the factors of fp32 convolutions to 10 bits, as it does unless told otherwise."""
    if device.type != "cuda":
        yield
        return
    _exact_products.enter()
    try:
        yield
    finally:
        _exact_products.leave()


def map_recordings(
    function: Callable[[FloatArray], T],
    recordings: Iterable[Recording],
    on_fault: OnFault | None = None,
    *,
    workers: int | None = None,
) -> Iterator[tuple[Recording, T]]:
    """Yield each recording with ``function`` of its ``(T,)`` samples at 16 kHz, in order, decoded and computed ahead.

    A recording that cannot be read is handed to ``on_fault`` and left out; without it, InputRefused is raised, and it
    is raised where all were left out. Results may be large: few wait, those of longer recordings among them.
    """

    def compute(recording: Recording) -> T:
        return function(load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s))

    done = faults = 0
    for recording, future in ahead(compute, recordings, workers, waiting=_WAITING):
        try:
            result = future.result()
        except InputRefused as error:
            if on_fault is None:
                raise
            on_fault(recording.id, str(error))
            faults += 1
            continue
        yield recording, result
        done += 1
    if faults and not done:
        raise InputRefused(f"none of the recordings ({faults}) can be read; each is named above")


def ahead(
    function: Callable[[Item], T], items: Iterable[Item], workers: int | None = None, *, waiting: int | None = None
) -> Iterator[tuple[Item, Future[T]]]:
    """Yield each item with the future of ``function`` of it, in order, computed ahead in threads (one a core).

    The queue is bounded: beside what is being computed, memory holds ``waiting`` results (three a thread unless given),
    however many items there are. Where the caller stops, what is being computed ends with the next window
    (:meth:`FeatureExtractor.stream`).
    """
    count = cores() if workers is None else workers
    length = count + (3 * count if waiting is None else waiting)
    given_up = threading.Event()

    def watched(item: Item) -> T:
        _thread.given_up = given_up
        with one_thread():
            return function(item)

    with ThreadPoolExecutor(count) as pool:
        queue: deque[tuple[Item, Future[T]]] = deque()
        rest = iter(items)
        try:
            while True:
                queue.extend((item, pool.submit(watched, item)) for item in itertools.islice(rest, length - len(queue)))
                if not queue:
                    return
                item, future = queue.popleft()
                # Waited for here, so that the queue is only filled as it is emptied.
                wait([future])
                yield item, future
        finally:
            given_up.set()
            for _, future in queue:
                future.cancel()


def load_recordings(
    recordings: Iterable[Recording], on_fault: OnFault | None = None
) -> Iterator[tuple[Recording, FloatArray]]:
    """Yield each recording with its ``(T,)`` samples at 16 kHz, in order; faults as in :func:`map_recordings`."""
    return map_recordings(lambda waveform: waveform, recordings, on_fault)
