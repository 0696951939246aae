"""What the decoder does not notice: files that end before their container says so."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Sizes written by programs that stream a WAV file and cannot come back to fill them in."""
_OGG_TAIL = 1 << 17
"""Bytes searched for the last Ogg page; a page has at most 65,307."""


def is_truncated(path: Path) -> bool:
    """Tell whether a WAV or Ogg (Vorbis, Opus) file ends early; other formats are checked by decoding.

    libsndfile shortens such files silently: a WAV file to the bytes that are there, an Ogg file to its last whole page.
    Sources: Microsoft's RIFF specification (1991); RFC 3533 (the last page of a stream carries the end-of-stream flag).
    """
    with path.open("rb") as file:
        head = file.read(12)
        size = path.stat().st_size
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            return _wav_ends_early(file, size)
        if head[:4] == b"OggS":
            file.seek(max(0, size - _OGG_TAIL))
            return _ogg_ends_early(file.read())
    return False


def _wav_ends_early(file: BinaryIO, size: int) -> bool:
    while True:
        header = file.read(8)
        if len(header) < 8:
            # No data chunk before the end: cut within the header.
            return True
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"data":
            return length not in _UNKNOWN_SIZES and file.tell() + length > size
        file.seek(length + length % 2, 1)


def _ogg_ends_early(tail: bytes) -> bool:
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return True
    segments = tail[page + 26]
    end = page + 27 + segments + sum(tail[page + 27 : page + 27 + segments])
    end_of_stream = tail[page + 5] & 4
    return len(tail) < end or not end_of_stream
