"""How loud a recording is: samples beyond ±1, which only files of floats hold, and channels that cancel each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})
"""Of libsndfile. Files of integers end at ±1; what a decoder of mp3 or Ogg puts beyond stays as it is."""
_CANCELLED = 0.01
"""Of the energy of the loudest channel, 20 dB: with less, the mean of the channels is not their sound any more."""


def peak_of(samples: Samples) -> float:
    """Return the largest finite magnitude of ``(T,)`` samples, 0 where there is none."""
    magnitudes = np.abs(samples)
    return float(magnitudes.max(initial=0.0, where=np.isfinite(magnitudes)))


def within(samples: Samples, peak: float) -> Samples:
    """Return the samples of a recording whose largest magnitude is ``peak``, divided by it where it is beyond 1."""
    return samples / np.float32(peak) if peak > 1 else samples


class Levels:
    """What is to be said of the levels of a recording, heard block by block."""

    def __init__(self, subtype: str) -> None:
        self._is_float = subtype in FLOAT_SUBTYPES
        self._peak = 0.0
        self._mixed = 0.0
        self._channels: npt.NDArray[np.float64] | float = 0.0

    def add(self, block: Samples, mixed: Samples) -> None:
        """Hear ``(T, C)`` samples of the channels, and the ``(T,)`` ones of their mean."""
        if self._is_float:
            self._peak = max(self._peak, peak_of(mixed))
        if block.shape[1] > 1:
            self._mixed += float(np.square(mixed, dtype=np.float64).sum())
            self._channels = self._channels + np.square(block, dtype=np.float64).sum(axis=0)

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, each with what is done about it, or its remedy."""
        found = []
        if self._peak > 1:
            found.append(
                f"its samples must lie within ±1, but reach ±{self._peak:.3g} (a file of floats); all are divided by "
                "that, and what is quiet in it becomes quieter"
            )
        if self._mixed < _CANCELLED * float(np.max(self._channels)):
            found.append(
                "its channels cancel each other, and almost nothing is left of their mean, which is what is heard: the "
                "wires of one are probably swapped; keep one channel, such as by "
                "`ffmpeg -i IN -af 'pan=mono|c0=c0' OUT.wav`"
            )
        return tuple(found)
