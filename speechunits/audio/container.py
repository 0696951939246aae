"""What the decoder does not notice: files that end before their container says so."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_UNKNOWN_SIZE = 0x7FFFF000
"""What one program that streams a WAV file, and cannot come back to fill in the size, writes there."""
_UNKNOWN_NEAR = 512
"""Others write the largest number of 31 or 32 bits, or one less by the size of the header."""
_UNKNOWN_AIFF = 0x7F000000
"""The same for AIFF: no less than this."""
_IN_DS64 = 0xFFFFFFFF
"""The size in RF64 of a chunk whose size is in ``ds64``."""
_LEFT_OUT_S = 0.05
"""What follows the samples of a WAV file and would last less is not worth a word."""
_LOOKED_AT = 1 << 16
"""Bytes after the samples that are looked at: zeros alone are none."""
_OGG_TAIL = 1 << 17
"""Bytes searched for the last Ogg page; a page has at most 65,307."""


def is_truncated(path: Path) -> bool:
    """Tell whether a WAV (RF64 too), AIFF or Ogg (Vorbis, Opus) file ends early; others are checked by decoding.

    libsndfile shortens such files silently: a WAV or AIFF file to the bytes that are there, an Ogg file to its last
    whole page.
    Sources: Microsoft's RIFF specification (1991); EBU Tech 3306 (RF64: sizes of 64 bits in a chunk ``ds64``); Apple,
    AIFF 1.3 (1989); RFC 3533 (the last page of a stream carries the end-of-stream flag).
    """
    with path.open("rb") as file:
        head = file.read(12)
        size = path.stat().st_size
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            found = _chunk(file, b"data", "little")
            return found is None or (not _is_unknown(found.size) and found.start + found.size > size)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            # Without sound there is no SSND; what is cut within the header lacks it too, but is shorter than it says.
            found = _chunk(file, b"SSND", "big")
            if found is None:
                return 8 + int.from_bytes(head[4:8], "big") > size
            return found.size < _UNKNOWN_AIFF and found.start + found.size > size
        if head[:4] == b"OggS":
            file.seek(max(0, size - _OGG_TAIL))
            return _ogg_ends_early(file.read())
    return False


def never_closed(path: Path) -> int | None:
    """Return where the size of a WAV file's data is written, if it says 0 and samples follow; else None.

    Recorders write 0 first and the size when they stop: after a dead battery it is 0 still. Chunks that follow the
    data to the very end of the file are no samples.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None
        found = _chunk(file, b"data", "little")
        size = path.stat().st_size
        if found is None or found.size or found.start >= size:
            return None
        file.seek(found.start)
        end = found.start
        while len(header := file.read(8)) == 8:
            if not _is_name(header[:4]):
                # No chunk has such a name: these are samples.
                return found.start - 4
            length = int.from_bytes(header[4:], "little")
            end = file.seek(length + length % 2, 1)
        return found.start - 4 if end != size or header else None


def left_out(path: Path, duration_s: float) -> tuple[str, ...]:
    """Return a warning where more samples seem to follow in a file than the ``duration_s`` that its header counts."""
    more_s = duration_s * _uncounted(path)
    if more_s < _LEFT_OUT_S:
        return ()
    said = f"its header counts {duration_s:.1f} s, but {more_s:.1f} s more seem to follow, which are left out; if the "
    return (said + "recording breaks off, `ffmpeg -ignore_length 1 -i IN.wav OUT.wav` reads it to its end",)


def _uncounted(path: Path) -> float:
    """Return how long what follows the samples of a WAV file is, as a share of them, where it can be but samples too.

    A recorder that stopped unawares may have written the size some time before. Chunks after the data are no samples,
    nor are zeros that fill a disk's blocks.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
            return 0.0
        found = _chunk(file, b"data", "little")
        size = path.stat().st_size
        if found is None or _is_unknown(found.size):
            return 0.0
        place = file.seek(found.start + found.size + found.size % 2)
        while len(header := file.read(8)) == 8 and _is_name(header[:4]):
            length = int.from_bytes(header[4:], "little")
            if place + 8 + length > size:
                break
            place = file.seek(place + 8 + length + length % 2)
        file.seek(place)
        return (size - place) / found.size if any(file.read(_LOOKED_AT)) else 0.0


def _is_unknown(size: int) -> bool:
    """Tell whether the size of a WAV file's data is what is written before it is known."""
    return size in (0, _UNKNOWN_SIZE) or any(abs(size - end) <= _UNKNOWN_NEAR for end in (1 << 31, 1 << 32))


def _is_name(name: bytes) -> bool:
    return all(0x20 <= letter < 0x7F for letter in name)


class UnclosedFile(io.FileIO):
    """A WAV file read as if the size of its data were unknown: its samples then go to the end of the file."""

    def __init__(self, path: Path, place: int) -> None:
        super().__init__(path, "rb")
        self._place = place
        """Of the four bytes of the size."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read bytes, those of the size as 0xFFFFFFFF."""
        first = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for place in range(max(first, self._place), min(first + count, self._place + 4)):
            view[place - first] = 0xFF
        return count


class _Chunk(NamedTuple):
    start: int
    """Of its content."""
    size: int


def _chunk(file: BinaryIO, wanted: bytes, order: Literal["little", "big"]) -> _Chunk | None:
    """Return the first chunk of a name after the place of ``file``; None where the file ends before."""
    long_size = 0
    while len(header := file.read(8)) == 8:
        length = int.from_bytes(header[4:], order)
        start = file.tell()
        if header[:4] == wanted:
            return _Chunk(start, long_size if length == _IN_DS64 and long_size else length)
        if header[:4] == b"ds64":
            # The size of the whole, then that of the data.
            long_size = int.from_bytes(file.read(16)[8:], "little")
        file.seek(start + length + length % 2)
    return None


def _ogg_ends_early(tail: bytes) -> bool:
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return True
    segments = tail[page + 26]
    end = page + 27 + segments + sum(tail[page + 27 : page + 27 + segments])
    end_of_stream = tail[page + 5] & 4
    return len(tail) < end or not end_of_stream
