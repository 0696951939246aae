"""Raw PCM in, units out while it arrives: ``transcribe --stream``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.frames import SAMPLE_RATE_HZ, frame_edges_s
from speechunits.units.ctm import ctm_line, to_ctm
from speechunits.units.live import Heard, LiveUnits, latency_samples
from speechunits.units.transcript import Span, UnitTranscript
from speechunits.units.units import CENTROIDS, Units

_FORMS = ("text", "ctm")
_SAMPLE_BYTES = 2
_NAME = "stream"


def stream_text(header: Mapping[str, Any]) -> str:
    """Return the latency of units with this header in words, or why they cannot be streamed."""
    try:
        samples = latency_samples(header)
    except UsageError as error:
        return f"refused: {error}"
    return f"latency {1000 * samples / SAMPLE_RATE_HZ:g} ms ({samples} samples) + chunk"


def transcribe_stream(
    source: BinaryIO, out: TextIO, units: Units, *, form: str = "text", frames: bool = False, chunk_ms: int = 100
) -> None:
    """Write the units of raw PCM (16 kHz, mono, 16-bit signed, little-endian) as soon as they are known, until it ends.

    ``text`` is one line, a unit as soon as it begins (each frame's with ``frames``); ``ctm`` a line a run as soon as
    it has ended. Both are what ``transcribe`` writes of the same audio. Half a sample at the end is named and left out.
    Ctrl-C ends the recording as its end does: what was heard is written.

    Raises
    ------
    UsageError
        If the units are not of a causal encoder, the format is another, or a chunk is shorter than a millisecond.
    """
    if form not in _FORMS:
        raise UsageError(f"a stream is written as {' or '.join(_FORMS)}, but {form} is asked for, which needs its end")
    if chunk_ms < 1:
        raise UsageError(f"a chunk must be at least 1 ms, but is {chunk_ms} instead")
    live = LiveUnits(units)
    writer: _Text | _Ctm = (
        _Text(out, frames=frames) if form == "text" else _Ctm(out, frames=frames, confident=CENTROIDS in units.tensors)
    )
    with _interruptible(source) as until_interrupted:
        for samples in pcm_chunks(until_interrupted, SAMPLE_RATE_HZ * chunk_ms // 1000):
            writer.add(live.push(samples))
            out.flush()
    writer.add(live.finish())
    writer.end(live.samples / SAMPLE_RATE_HZ)
    out.flush()


class _Interruptible:
    """A source of bytes that Ctrl-C ends. What has been read is kept, and a step that is being computed is finished."""

    def __init__(self, source: BinaryIO) -> None:
        # `read` waits for all it is asked for, and an interruption takes with it what had come until then.
        self._read_some: Callable[[int], bytes] = getattr(source, "read1", source.read)
        self._reading = self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer at the end and where Ctrl-C comes, none after it."""
        held = bytearray()
        while len(held) < size and not self._ended:
            try:
                self._reading = True
                data = self._read_some(size - len(held))
                self._reading = False
            except KeyboardInterrupt:
                break
            if not data:
                break
            held += data
        return bytes(held)

    def end(self) -> None:
        """Give no more bytes; raises KeyboardInterrupt where some are waited for."""
        self._ended = True
        if self._reading:
            self._reading = False
            raise KeyboardInterrupt


@contextmanager
def _interruptible(source: BinaryIO) -> Iterator[_Interruptible]:
    """Yield a source that the first Ctrl-C ends; a second one interrupts as ever."""
    ended = _Interruptible(source)
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread alone.
        yield ended
        return
    before = signal.getsignal(signal.SIGINT)

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        ended.end()

    signal.signal(signal.SIGINT, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


def pcm_chunks(
    source: Source, size: int, tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of raw 16-bit PCM, up to ``(size,)`` at a time, within [-1, 1)."""
    rest = b""
    while data := source.read(_SAMPLE_BYTES * size):
        # A pipe may give less than it was asked for, and part a sample.
        data = rest + data
        whole = len(data) // _SAMPLE_BYTES * _SAMPLE_BYTES
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(2**15)
    if rest:
        tell(f"{_NAME}: warning: it ends within a sample (an odd number of bytes); is it 16-bit PCM?")


class _Text:
    def __init__(self, out: TextIO, *, frames: bool) -> None:
        self._out = out
        self._frames = frames
        self._last: int | None = None

    def add(self, heard: Heard) -> None:
        for unit in heard.units.tolist():
            if self._frames or unit != self._last:
                self._out.write(f"{unit}" if self._last is None else f" {unit}")
            self._last = unit

    def end(self, duration_s: float) -> None:  # noqa: ARG002 - as _Ctm
        self._out.write("\n")


class _Ctm:
    """Runs, of which the present one is held until another unit or the end tells how long it is."""

    def __init__(self, out: TextIO, *, frames: bool, confident: bool) -> None:
        self._out = out
        self._frames = frames
        self._confident = confident
        self._unit: int | None = None
        self._first = self._total = 0
        self._margins: list[float] = []

    def add(self, heard: Heard) -> None:
        for unit, margin in zip(heard.units.tolist(), heard.margins.tolist(), strict=True):
            if self._unit is not None and (self._frames or unit != self._unit):
                self._write(self._total + 1, 0.0)
            self._unit = unit
            self._margins.append(margin)
            self._total += 1

    def end(self, duration_s: float) -> None:
        if self._unit is None:
            nothing = UnitTranscript(id=_NAME, duration_s=duration_s, units=np.zeros(0, np.int64))
            self._out.write(to_ctm(nothing) + "\n")
        else:
            self._write(self._total, duration_s)

    def _write(self, total: int, duration_s: float) -> None:
        start_s, end_s = frame_edges_s(self._first, self._total - 1, total=total, duration_s=duration_s)
        margin = sum(self._margins) / len(self._margins) if self._confident else None
        self._out.write(ctm_line(_NAME, Span(start_s, end_s, str(self._unit), margin)) + "\n")
        self._first, self._margins = self._total, []
