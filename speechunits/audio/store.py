"""Decoded recordings kept on disk as 16-bit samples and memory-mapped: what one training decoded, others only read."""

from __future__ import annotations

import fcntl
import hashlib
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.run import atomic_path

Samples = NDArray[np.int16]

_FORMAT = 1
"""Part of every key: to be raised when the same file would be decoded to other samples."""
_HEADER = struct.Struct("<8sqI4x")
"""Mark, samples, CRC-32 of them; the samples follow, little-endian."""
_MARK = b"SUaudio\x01"
_SUFFIX = ".pcm"
_ROOM = 0.9
"""Share of the limit that is left full when entries are removed: not every new one costs a look at the whole folder."""
_TOUCH_S = 60.0
"""An entry used again within this time is not marked anew: reading should not write."""
_ABANDONED_S = 3600.0
"""A temporary file this old was left by a process that was killed."""


class WaveformStore:
    """A folder of decoded recordings, safe to share between threads and processes; bounded in size.

    An entry's name is the SHA-256 of the file's path, size and time of change, the segment, the rate, the decoders'
    versions and the format: a changed file is another entry. What is damaged is not found. Entries unused for longest
    are removed first; whoever reads one still has its map. A folder that cannot be written is named once, then only
    read.
    """

    def __init__(self, folder: Path, limit_mb: float) -> None:
        self.folder = folder
        self._limit = int(limit_mb * 1_000_000)
        self._writes = True
        self._checked: set[str] = set()
        """Entries whose samples this process has compared with their sum."""

    def get(self, recording: Recording) -> Samples | None:
        """Return the ``(T,)`` read-only map of a recording's 16 kHz samples, or None where no intact one is.

        Nothing of it stays open: a training may read from more files than a process may hold.
        """
        name = _name(recording)
        if name is None:
            return None
        path = self._path(name)
        try:
            with path.open("rb") as file:
                mark, count, total = _HEADER.unpack(file.read(_HEADER.size))
            status = path.stat()
            if mark != _MARK or count < 1 or status.st_size != _HEADER.size + 2 * count:
                return None
            samples: Samples = np.memmap(path, np.dtype("<i2"), "r", _HEADER.size, (count,))
            if name not in self._checked:
                if zlib.crc32(samples.data) != total:
                    return None
                self._checked.add(name)
            if time.time() - status.st_mtime > _TOUCH_S and self._writes:
                path.touch()
        except (OSError, struct.error, ValueError):
            # Missing, removed meanwhile, shorter than a header, or of somebody else: decoding finds out what is wrong.
            return None
        return samples

    def put(self, recording: Recording, samples: Samples) -> None:
        """Keep the ``(T,)`` samples of a recording, and remove what the limit asks for."""
        name = _name(recording)
        size = _HEADER.size + samples.nbytes
        if name is None or not self._writes or not len(samples) or size > self._limit:
            return
        little = samples.astype("<i2", copy=False)
        try:
            with self._locked() as record:
                self._make_room(record, size)
                with atomic_path(self._path(name)) as temporary, temporary.open("wb") as file:
                    file.write(_HEADER.pack(_MARK, len(little), zlib.crc32(little.data)))
                    file.write(little.data)
        except OSError as error:
            self._writes = False
            print(
                f"the audio cache {self.folder} cannot be written ({error}); training goes on and decodes what is not "
                "there: make room, or give batch.cache_dir another folder",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def _path(self, name: str) -> Path:
        return self.folder / (name + _SUFFIX)

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the folder against other writers, threads of this process included; yield the file of its total."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.folder / "total"

    def _make_room(self, record: Path, size: int) -> None:
        """Count ``size`` bytes in, removing entries first where they would not fit.

        The total is written before the entry: who is killed between leaves it too high, which the next look corrects.
        """
        try:
            total = int(record.read_text())
        except (OSError, ValueError):
            total = self._limit
        if total + size > self._limit:
            total = self._remove(size)
        record.write_text(str(total + size))

    def _remove(self, size: int) -> int:
        """Remove the entries unused for longest where ``size`` bytes do not fit; return the bytes that are left."""
        now = time.time()
        entries = []
        for path in self.folder.iterdir():
            if path.suffix != _SUFFIX:
                continue
            status = path.stat()
            if not path.name.startswith("."):
                entries.append((status.st_mtime_ns, status.st_size, path))
            elif now - status.st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)
        total = sum(entry for _, entry, _ in entries)
        if total + size <= self._limit:
            return total
        for _, entry, path in sorted(entries):
            if total + size <= _ROOM * self._limit:
                break
            path.unlink(missing_ok=True)
            total -= entry
        return total


def _name(recording: Recording) -> str | None:
    """Return the name of a recording's entry, or None where its file cannot be asked: decoding will say why."""
    # The decoders are part of the key; whoever decodes has imported them.
    import soundfile  # noqa: PLC0415
    import soxr  # noqa: PLC0415

    try:
        path = recording.audio.resolve()
        status = path.stat()
    except OSError:
        return None
    key = (
        str(path), status.st_size, status.st_mtime_ns, recording.start_s, recording.end_s, SAMPLE_RATE_HZ, _FORMAT,
        soundfile.__libsndfile_version__, soxr.__version__,
    )  # fmt: skip
    # Their representation, not themselves: a path may hold bytes that are no text.
    return hashlib.sha256(repr(key).encode()).hexdigest()
