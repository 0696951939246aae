"""Any audio file as 16 kHz mono samples, or a refusal that says why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.audio.container import UnclosedFile, is_truncated, left_out, never_closed
from speechunits.audio.levels import FLOAT_SUBTYPES, Levels, peak_of, within
from speechunits.audio.resample import Samples, resample
from speechunits.errors import InputRefused
from speechunits.frames import SAMPLE_RATE_HZ

_BLOCK = 1 << 18
"""Samples decoded at a time while a file is only verified: bounds the memory a three-hour recording takes."""
_CONTEXT_S = 0.05
"""Seconds read on either side of a segment, so that the resampling filter sees the samples around its edges."""
_ENDLESS = 1 << 62
"""Samples: what libsndfile says of an Opus file of several streams."""
_MP3_SLACK = 2304
"""Samples by which the length in an mp3 header may exceed what is decoded: two frames of encoder padding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What the header of an audio file says."""

    rate_hz: int
    channels: int
    samples: int
    """Samples per channel at ``rate_hz``."""
    warnings: tuple[str, ...] = ()
    """What is odd about a recording that was decoded, and can be used."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate_hz


def refusal(path: Path, cause: str, remedy: str) -> InputRefused:
    """Return the error for a recording that cannot be used."""
    return InputRefused(f"{printable(path)}: {cause}; {remedy}")


def printable(path: Path | str) -> str:
    """Return a path as one line of valid UTF-8: tabs, newlines and undecodable bytes escaped."""
    shown = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def probe(path: Path) -> AudioInfo:
    """Return rate, channels and length from the header, without decoding.

    Raises
    ------
    InputRefused
        If the file is missing, empty, undecodable, visibly truncated, or holds no sample.
    """
    with _opened(path) as file:
        return AudioInfo(rate_hz=file.samplerate, channels=file.channels, samples=file.frames)


def verify(path: Path) -> AudioInfo:
    """Decode the whole file block by block in bounded memory and return its measured length.

    Raises
    ------
    InputRefused
        As :func:`load_waveform`.
    """
    samples = 0
    with _opened(path) as file:
        levels = Levels(file.subtype)
        for block in _read(path, file):
            samples += len(block)
            levels.add(block, _mono(path, block))
        _check_decoded(path, file, samples)
        warnings = (*levels.warnings(), *left_out(path, samples / file.samplerate))
        return AudioInfo(rate_hz=file.samplerate, channels=file.channels, samples=samples, warnings=warnings)


def load_waveform(path: Path, *, start_s: float | None = None, end_s: float | None = None) -> Samples:
    """Return ``(T,)`` float32 samples, 16 kHz mono (mean of the channels); a segment is read by seeking.

    A file of floats that go beyond ±1 anywhere is divided by its largest, segments of it as the whole.

    Raises
    ------
    InputRefused
        If the file is missing, empty, undecodable, truncated, holds no sample or a NaN or infinite one, or if the
        segment lies outside it. Very short recordings (1 sample) and silence are accepted.
    """
    with _opened(path) as file:
        if start_s is None and end_s is None:
            samples = np.concatenate(list(_blocks(path, file)) or [np.zeros(0, np.float32)])
            _check_decoded(path, file, len(samples))
            peak = peak_of(samples) if file.subtype in FLOAT_SUBTYPES else 1.0
            return resample(within(samples, peak), file.samplerate)
        return _segment(path, file, start_s or 0.0, end_s)


def stream_waveform(path: Path) -> Iterator[Samples]:
    """Yield the samples of :func:`load_waveform` block by block, bit for bit the same, in bounded memory.

    What is wrong with the end of a file is only known there: InputRefused may come after blocks that were good.
    """
    import soxr  # noqa: PLC0415 - as in resample

    with _opened(path) as file:
        rate_hz, decoded, yielded, head = file.samplerate, 0, 0, np.zeros(0, np.float32)
        peak = _peak(path, file)
        resampler = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32")
        for read in _blocks(path, file):
            block = within(read, peak)
            head = block[:1] if decoded == 0 else head
            decoded += len(block)
            out = block if resampler is None else resampler.resample_chunk(block)
            yielded += len(out)
            if len(out):
                yield out
        _check_decoded(path, file, decoded)
        if resampler is not None:
            out = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            # As in resample: a recording that exists is never zero samples long.
            out = out if yielded or len(out) else head
            if len(out):
                yield out


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with ExitStack() as held:
        try:
            file = _open(path, held)
        except OSError as error:
            raise refusal(
                path, f"the file cannot be read ({error.strerror or error})",
                "check its permissions, and the disk it is on",
            ) from error  # fmt: skip
        except UnicodeError as error:
            raise refusal(
                path, "its path is not valid UTF-8, which the decoder cannot open", "rename the file or its folder"
            ) from error
        yield file


def _open(path: Path, held: ExitStack) -> Any:
    if not path.exists():
        if path.is_symlink():
            raise refusal(path, "this is a link to a file that is missing", "copy that file, or remove the link")
        raise refusal(path, "the file is missing", "check the path, and the disk it is on")
    if not path.is_file():
        raise refusal(path, "this is not a file", "name a file; `speechunits manifest` takes folders")
    if path.stat().st_size == 0:
        raise refusal(path, "the file is empty (0 bytes)", "copy it again from its source, or remove it")
    file = _decoder(path, held)
    if is_truncated(path):
        raise refusal(path, "the file is truncated: its container promises more", "copy it again from its source")
    if file.frames >= _ENDLESS:
        raise refusal(
            path, "its length is not known to the decoder: several streams one after the other",
            "join them by `ffmpeg -i IN OUT.wav`",
        )  # fmt: skip
    if file.frames == 0:
        raise refusal(path, "the recording holds 0 samples", "record it again, or remove it")
    return file


def _decoder(path: Path, held: ExitStack) -> Any:
    import soundfile  # noqa: PLC0415 - as soxr

    try:
        file = held.enter_context(soundfile.SoundFile(str(path)))
        place = never_closed(path) if file.frames == 0 else None
        if place is None:
            return file
        return held.enter_context(soundfile.SoundFile(held.enter_context(UnclosedFile(path, place))))
    except (soundfile.LibsndfileError, TypeError) as error:
        # soundfile raises TypeError for a headerless .raw file, whose rate it cannot know.
        if is_truncated(path):
            raise refusal(path, "the file is truncated", "copy it again from its source") from error
        raise refusal(
            path,
            "this is not audio that can be decoded (another kind of file with this name, or damaged)",
            "convert it to wav or flac, or remove it",
        ) from error


def _blocks(path: Path, file: Any) -> Iterator[Samples]:
    return (_mono(path, block) for block in _read(path, file))


def _read(path: Path, file: Any) -> Iterator[Samples]:
    import soundfile  # noqa: PLC0415 - as soxr

    while True:
        try:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _damaged(path) from error
        if len(block) == 0:
            return
        yield block


def _damaged(path: Path) -> InputRefused:
    return refusal(path, "decoding stops midway: truncated or damaged", "copy it again from its source")


def _mono(path: Path, block: Samples) -> Samples:
    if not np.isfinite(block).all():
        raise refusal(path, "the recording holds NaN or infinite samples", "export it again as 16-bit PCM")
    mono: Samples = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    return mono


def _peak(path: Path, file: Any) -> float:
    """Return the largest magnitude of a file of floats, whatever part of it is read; 1 for other files."""
    if file.subtype not in FLOAT_SUBTYPES:
        return 1.0
    status = path.stat()
    return _measured_peak(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 12)
def _measured_peak(path: Path, _size: int, _changed_ns: int) -> float:
    with _opened(path) as file:
        # What is wrong with samples is said where they are read.
        blocks = file.blocks(_BLOCK, dtype="float32", always_2d=True)
        return max((peak_of(block.mean(axis=1, dtype=np.float32)) for block in blocks), default=0.0)


def _check_decoded(path: Path, file: Any, samples: int) -> None:
    slack = _MP3_SLACK if file.format == "MP3" else 0
    if samples < file.frames - slack or samples == 0:
        raise refusal(
            path,
            f"the file is truncated: its header promises {file.frames} samples, but {samples} could be decoded",
            "copy it again from its source",
        )


def _segment(path: Path, file: Any, start_s: float, end_s: float | None) -> Samples:
    import soundfile  # noqa: PLC0415 - as soxr

    duration_s = file.frames / file.samplerate
    stop_s = duration_s if end_s is None else end_s
    # Times in manifests are rounded: half a frame past the end is the end.
    if not 0 <= start_s < stop_s or stop_s > duration_s + 0.05:
        raise refusal(
            path,
            f"the segment {start_s:g}-{stop_s:g} s must lie within the recording's 0-{duration_s:.3f} s",
            "correct start and end in the manifest",
        )
    # Source and target grids meet every `block` source samples (`step` at 16 kHz): a read that starts there can be
    # cut to the very samples that the whole file would have given.
    common = math.gcd(file.samplerate, SAMPLE_RATE_HZ)
    block, step = file.samplerate // common, SAMPLE_RATE_HZ // common
    first = max(0, int((start_s - _CONTEXT_S) * file.samplerate)) // block * block
    last = min(file.frames, math.ceil((stop_s + _CONTEXT_S) * file.samplerate))
    start = round(start_s * SAMPLE_RATE_HZ) - first // block * step
    stop = start + max(1, round(stop_s * SAMPLE_RATE_HZ) - round(start_s * SAMPLE_RATE_HZ))
    try:
        file.seek(first)
        found = file.read(last - first, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _damaged(path) from error
    # The last frames of an mp3 file may be the encoder's padding, of which nothing is decoded.
    short = last - first - len(found)
    slack = max(0, _MP3_SLACK - (file.frames - last)) if file.format == "MP3" else 0
    samples = resample(within(_mono(path, found), _peak(path, file)), file.samplerate)
    if short > slack or len(samples) <= start:
        raise refusal(
            path,
            f"the file is truncated: {last - first} samples from {first / file.samplerate:g} s were promised, but "
            f"{len(found)} could be decoded",
            "copy it again from its source",
        )
    return samples[start:stop].copy()
