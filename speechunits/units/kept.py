"""The units of many recordings in one file: made once, and read by later calls and by the other ranks of a training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.load import printable
from speechunits.audio.manifest import Recording
from speechunits.errors import ModelRefused
from speechunits.progress import progress
from speechunits.run import content_key, is_first_rank
from speechunits.units.bundle import read_bundle, read_header, write_bundle
from speechunits.units.extract import OnFault
from speechunits.units.units import Units

T = TypeVar("T")
UnitArrays = dict[str, NDArray[np.int64]]
_LOOK_EVERY_S = 0.5
_WIDE = 2**15
"""Units from here on do not fit 16 bits."""


def kept_units(inventory: Path, recordings: Sequence[Recording], path: Path, on_fault: OnFault) -> UnitArrays:
    """Return the ``(S,)`` units of every recording that can be read; ``on_fault`` is told of the others.

    They are read from ``path`` where it holds those of this inventory and these recordings (their files by size and
    time of change), else made and kept there. Of several ranks the first makes them, the others wait for the file.

    Raises
    ------
    InputRefused
        If none of the recordings can be read.
    """
    key = _key(inventory, recordings)
    found = _read(path, key) if is_first_rank() else awaited(lambda: _read(path, key))
    if found is None:
        return _make(inventory, recordings, path, key, on_fault)
    units, faults = found
    for name, reason in faults.items():
        on_fault(name, reason)
    return units


def awaited(find: Callable[[], T | None]) -> T:
    """Return what ``find`` finds, once another rank has made it: that may take longer than ranks wait for each other.

    Where that rank fails, who started the ranks ends this one, too.
    """
    while (found := find()) is None:
        time.sleep(_LOOK_EVERY_S)
    return found


def _key(inventory: Path, recordings: Sequence[Recording]) -> str:
    header = read_header(inventory, "units")
    files = {audio: _state(audio) for audio in {recording.audio for recording in recordings}}
    heard = [
        (recording.id, printable(recording.audio), recording.start_s, recording.end_s, files[recording.audio])
        for recording in recordings
    ]
    return content_key(header["tensors_sha256"], header["units"], heard)


def _state(audio: Path) -> tuple[int, int] | None:
    try:
        found = audio.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _make(inventory: Path, recordings: Sequence[Recording], path: Path, key: str, on_fault: OnFault) -> UnitArrays:
    units: UnitArrays = {}
    faults: dict[str, str] = {}

    def note(name: str, reason: str) -> None:
        faults[name] = reason
        on_fault(name, reason)

    with progress("targets", len(recordings)) as advance:
        for recording, found in Units.load(inventory).recordings(recordings, note):
            units[recording.id] = found
            advance(1, "")
    every = np.concatenate([np.zeros(0, np.int64), *units.values()])
    kind = np.int16 if every.size == 0 or every.max() < _WIDE else np.int32
    # Names of a large corpus are more than a header may hold.
    names = json.dumps([list(units), faults], ensure_ascii=False).encode()
    tensors: dict[str, Tensor] = {
        "units": torch.from_numpy(every.astype(kind)),
        "frames": torch.tensor([len(found) for found in units.values()], dtype=torch.int64),
        "names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
    }
    write_bundle(path, tensors, {"kind": "frame_units", "key": key})
    return units


def _read(path: Path, key: str) -> tuple[UnitArrays, dict[str, str]] | None:
    """Return what is kept under this key; None where nothing is, or what is there is damaged or another's."""
    try:
        if read_header(path, "frame_units").get("key") != key:
            return None
        tensors, _ = read_bundle(path, "frame_units")
    except ModelRefused:
        return None
    names, faults = json.loads(tensors["names"].numpy().tobytes())
    every = tensors["units"].numpy().astype(np.int64)
    parts = np.split(every, tensors["frames"].cumsum(0).numpy()[:-1])
    return dict(zip(names, parts, strict=True)) if names else {}, faults
