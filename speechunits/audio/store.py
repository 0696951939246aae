"""Decoded recordings, and what is made of them, kept on disk and memory-mapped: what one training made, others read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.run import atomic_path

T = TypeVar("T", bound=np.generic)

_FORMAT = 2
"""Part of every key: to be raised when the same file would be decoded to other samples.

2: files of floats beyond ±1 are divided by their largest, which were clipped before.
"""
_HEADER = struct.Struct("<8sqI4x")
"""Mark, values, CRC-32 of them; the values follow, little-endian."""
_MARK = b"SUaudio\x01"
_ROOM = 0.9
"""Share of the limit that is left full when entries are removed: not every new one costs a look at the whole folder."""
_TOUCH_S = 60.0
"""An entry used again within this time is not marked anew: reading should not write."""
_ABANDONED_S = 3600.0
"""A temporary file this old was left by a process that was killed."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What is kept of a recording: ``(T,)`` values, or ``(M, columns)``.

    ``made_by`` is what its values depend on besides the recording. What is not ``lasting`` is made again in no time:
    it takes the room that lasting entries leave, and goes before them.
    """

    suffix: str
    dtype: np.dtype[T]
    columns: int | None = None
    made_by: tuple[object, ...] = ()
    lasting: bool = False


AUDIO: Kind[np.int16] = Kind(".pcm", np.dtype("<i2"), lasting=True)
"""Decoded samples at 16 kHz."""
FEATURES_SUFFIX = ".mel"
"""Of frames made from samples."""


class WaveformStore:
    """A folder of decoded recordings, safe to share between threads and processes; bounded in size.

    An entry's name is the SHA-256 of the file's path, size and time of change, the segment, the rate, the decoders'
    versions, the format and what else its kind depends on: a changed file is another entry. What is damaged is not
    found. Entries unused for longest are removed first; whoever reads one still has its map. A folder that cannot be
    written is named once, then only read.
    """

    def __init__(self, folder: Path, limit_mb: float) -> None:
        self.folder = folder
        self._limit = int(limit_mb * 1_000_000)
        self._writes = True
        self._checked: set[str] = set()
        """Entries whose values this process has compared with their sum."""

    def get(self, recording: Recording, kind: Kind[T]) -> NDArray[T] | None:
        """Return the read-only map of what is kept of a recording, or None where it is not, or not intact.

        Nothing of it stays open: a training may read from more files than a process may hold.
        """
        name = _name(recording, kind)
        if name is None:
            return None
        path = self.folder / name
        width = kind.columns or 1
        try:
            with path.open("rb") as file:
                mark, count, total = _HEADER.unpack(file.read(_HEADER.size))
            status = path.stat()
            size = _HEADER.size + kind.dtype.itemsize * count
            if mark != _MARK or count < 1 or count % width or status.st_size != size:
                return None
            shape = (count,) if kind.columns is None else (count // width, width)
            values: NDArray[T] = np.memmap(path, kind.dtype, "r", _HEADER.size, shape)
            if name not in self._checked:
                if zlib.crc32(values.data) != total:
                    return None
                self._checked.add(name)
            if time.time() - status.st_mtime > _TOUCH_S and self._writes:
                # It may be somebody else's, and removed meanwhile: what was read is whole all the same.
                with suppress(OSError):
                    os.utime(path)
        except (OSError, struct.error, ValueError):
            # Missing, removed meanwhile, shorter than a header, or of somebody else: decoding finds out what is wrong.
            return None
        return values

    def has_room(self, size: int) -> bool:
        """Tell whether ``size`` bytes that are not lasting may be kept."""
        return self._writes and self._total() + _HEADER.size + size <= self._limit

    def put(self, recording: Recording, values: NDArray[T], kind: Kind[T]) -> None:
        """Keep something of a recording, and remove what the limit asks for."""
        name = _name(recording, kind)
        size = _HEADER.size + values.nbytes
        if name is None or not self._writes or not len(values) or size > self._limit:
            return
        little = np.ascontiguousarray(values, kind.dtype)
        try:
            with self._locked():
                total = self._total()
                if total + size > self._limit:
                    if not kind.lasting:
                        return
                    total = self._remove(size)
                # Before the entry: who is killed between leaves the total too high, which the next look corrects.
                self._write_total(total + size)
                with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
                    file.write(_HEADER.pack(_MARK, little.size, zlib.crc32(little.data)))
                    file.write(little.data)
        except OSError as error:
            self._writes = False
            print(
                f"the audio cache {self.folder} cannot be written ({error}); training goes on and decodes what is not "
                "there: make room, or give batch.cache_dir another folder",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    @property
    def _record(self) -> Path:
        """The file of the folder's total."""
        return self.folder / "total"

    def _write_total(self, total: int) -> None:
        """Replace the total at once: who reads it without the lock finds the old one or the new one, never half."""
        written = self._record.with_suffix(".new")
        written.write_text(str(total))
        written.replace(self._record)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder against other writers, threads of this process included."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _total(self) -> int:
        """Return the bytes of all entries; where nobody has counted them yet, as if there were no room."""
        try:
            return int(self._record.read_text())
        except (OSError, ValueError):
            return self._limit

    def _remove(self, size: int) -> int:
        """Remove entries where ``size`` bytes do not fit, lasting and lately used ones last; return the bytes left."""
        now = time.time()
        entries = []
        for path in self.folder.iterdir():
            if path.suffix not in (AUDIO.suffix, FEATURES_SUFFIX):
                continue
            status = path.stat()
            if not path.name.startswith("."):
                entries.append((path.suffix == AUDIO.suffix, status.st_mtime_ns, status.st_size, path))
            elif now - status.st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)
        total = sum(entry for *_, entry, _ in entries)
        if total + size <= self._limit:
            return total
        for *_, entry, path in sorted(entries):
            if total + size <= _ROOM * self._limit:
                break
            path.unlink(missing_ok=True)
            total -= entry
        return total


def _name(recording: Recording, kind: Kind[T]) -> str | None:
    """Return the name of an entry of a recording, or None where its file cannot be asked: decoding will say why."""
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
        soundfile.__libsndfile_version__, soxr.__version__, *kind.made_by,
    )  # fmt: skip
    # Their representation, not themselves: a path may hold bytes that are no text.
    return hashlib.sha256(repr(key).encode()).hexdigest() + kind.suffix
