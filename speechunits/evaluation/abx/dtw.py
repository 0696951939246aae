"""Distances between tokens: dynamic time warping over frame distances, averaged over the path; edit distance of units.

The loops are plain Python that numba compiles at first use (and keeps beside the source): tokens last 3 to 15 frames,
too few for batched tensors to pay for their padding. Numba comes with librosa.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

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
        If the distance is unknown, or ``kl`` is asked of frames that are no probabilities.
    """

    def __init__(self, frames: FloatArray, starts: IntArray, lengths: IntArray, distance: Distance) -> None:
        if distance not in DISTANCES:
            raise UsageError(f"distance must be one of {', '.join(DISTANCES)}, but is {distance!r} instead")
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
        out = np.zeros((len(rows), len(columns)), np.float32)
        compiled(warp)(
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


@functools.cache
def compiled(function: Callable[..., None]) -> Callable[..., Any]:
    """Return a loop as machine code; sums over features may be taken in any order."""
    from numba import njit  # noqa: PLC0415 - takes a second to import

    machine_code: Callable[..., Any] = njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function)
    return machine_code


def warp(  # noqa: PLR0912 - one nest of loops, as the compiler needs it
    frames: FloatArray, starts: IntArray, lengths: IntArray, other_starts: IntArray, other_lengths: IntArray,
    kind: int, same: int, out: FloatArray,
) -> None:  # fmt: skip
    """Fill ``(R, C)`` ``out`` with the mean distance along the best path of each pair (Sakoe and Chiba 1978, P = 0).

    Among predecessors of equal cost the diagonal one is taken, then the one with the shorter path.
    """
    size = frames.shape[1] // 2 if kind == 3 else frames.shape[1]
    widest = other_lengths.max()
    cost, steps = np.empty(widest, np.float64), np.empty(widest, np.int64)
    for row in range(len(starts)):
        for column in range(row + 1 if same else 0, len(other_starts)):
            width = other_lengths[column]
            for i in range(lengths[row]):
                x = frames[starts[row] + i]
                diagonal, diagonal_steps = 0.0, 0
                for j in range(width):
                    y = frames[other_starts[column] + j]
                    total = np.float32(0)
                    if kind == 3:
                        for k in range(size):
                            total += (x[k] - y[k]) * (x[size + k] - y[size + k])
                        distance = total / 2
                    elif kind == 2:
                        for k in range(size):
                            total += (x[k] - y[k]) * (x[k] - y[k])
                        distance = np.sqrt(total)
                    else:
                        for k in range(size):
                            total += x[k] * y[k]
                        total = min(max(total, np.float32(-1)), np.float32(1))
                        distance = np.arccos(total) / np.float32(np.pi) if kind == 0 else 1 - total
                    best, taken = diagonal, diagonal_steps
                    if i == 0:
                        if j > 0:
                            best, taken = cost[j - 1], steps[j - 1]
                    elif j == 0:
                        best, taken = cost[0], steps[0]
                    elif not (diagonal <= cost[j] and diagonal <= cost[j - 1]):
                        best, taken = cost[j - 1], steps[j - 1]
                        if cost[j] < best or (cost[j] == best and steps[j] < taken):
                            best, taken = cost[j], steps[j]
                    # cost[j] still holds the row above: it is the diagonal of the next column.
                    diagonal, diagonal_steps = cost[j], steps[j]
                    cost[j], steps[j] = best + distance, taken + 1
            out[row, column] = cost[width - 1] / steps[width - 1]
            if same:
                out[column, row] = out[row, column]
