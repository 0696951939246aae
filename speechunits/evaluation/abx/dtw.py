"""Distances between tokens: dynamic time warping over frame distances, averaged over the path; edit distance of units.

The loops are in ``kernels``, which numba compiles; numba comes with librosa.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import UsageError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Distance = Literal["angular", "cosine", "euclidean", "kl"]
DISTANCES: tuple[Distance, ...] = ("angular", "cosine", "euclidean", "kl")
_EPSILON = 1e-6
"""Added to probabilities before their logarithm, as in the ZeroSpeech tools."""


class Tokens(Protocol):
    """Anything that can tell the distances between its tokens."""

    def between(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return ``(R, C)`` distances of tokens ``rows`` to tokens ``columns``; the same array twice: symmetric."""
        ...


class FrameTokens:
    """Tokens that are stretches of frames.

    Parameters
    ----------
    frames
        ``(F, D)`` frames of all recordings, end to end.
    starts, lengths
        ``(N,)`` first frame and number of frames of each token; at least one.
    distance
        ``angular``: arccos of the cosine over π; ``cosine``: 1 − cosine; ``euclidean``; ``kl``: symmetrised
        Kullback–Leibler divergence of probabilities, ½ Σ (p − q) ln (p / q). A frame of zeros is at right
        angles to all.

    Raises
    ------
    UsageError
        If the distance is unknown, frames are not finite, or ``kl`` is asked of frames that are no probabilities.
    """

    def __init__(self, frames: FloatArray, starts: IntArray, lengths: IntArray, distance: Distance) -> None:
        if distance not in DISTANCES:
            raise UsageError(f"distance must be one of {', '.join(DISTANCES)}, but is {distance!r} instead")
        if not np.isfinite(frames).all():
            raise UsageError("ABX needs finite features, but some are NaN or infinite; is the encoder damaged?")
        if distance == "kl":
            if len(frames) and (frames.min() < 0 or np.abs(frames.sum(axis=1) - 1).max() > 1e-3):
                raise UsageError("the distance kl must be given probabilities (≥ 0, sum 1) in every frame; use angular")
            frames = np.concatenate((frames, np.log(frames + np.float32(_EPSILON))), axis=1)
        elif distance != "euclidean":
            norms = np.linalg.norm(frames, axis=1, keepdims=True)
            frames = (frames / np.where(norms == 0, 1, norms)).astype(np.float32)
        self._frames = np.ascontiguousarray(frames, np.float32)
        self._starts, self._lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
        self._kind = DISTANCES.index(distance)

    def between(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return the ``(R, C)`` distances."""
        from speechunits.evaluation.abx.kernels import warp  # noqa: PLC0415 - numba takes a second to import

        out = np.zeros((len(rows), len(columns)), np.float32)
        warp(
            self._frames, self._starts[rows], self._lengths[rows], self._starts[columns], self._lengths[columns],
            self._kind, int(rows is columns), out,
        )  # fmt: skip
        return out


class UnitTokens:
    """Tokens that are sequences of units: their distance is the edit distance over the length of the longer one."""

    def __init__(self, sequences: Sequence[IntArray]) -> None:
        # One character a unit, from beyond the surrogates.
        self._texts = ["".join(chr(0x10000 + unit) for unit in sequence) for sequence in sequences]

    def between(self, rows: IntArray, columns: IntArray) -> FloatArray:
        """Return the ``(R, C)`` distances."""
        from rapidfuzz.distance import Levenshtein  # noqa: PLC0415 - only where units are compared
        from rapidfuzz.process import cdist  # noqa: PLC0415

        texts = [[self._texts[token] for token in tokens] for tokens in (rows, columns)]
        return cdist(*texts, scorer=Levenshtein.normalized_distance, dtype=np.float32)
