"""The loops of ABX as machine code, compiled at first use and kept beside the source; importing this brings numba.

Tokens last 3 to 15 frames, too few for batched tensors to pay for their padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BLOCK_FRAMES = 512
"""Frames of columns laid out at a time: rows of sums stay in the first cache, the block in the second."""
_FLAGS = {"reassoc", "contract"}
_ONE, _HALF = np.float32(1), np.float32(0.5)
_RIGHT_ANGLE = np.float32(0.5)
# Abramowitz and Stegun 4.4.46, over π: arccos x = √(1 − x) Σ aₖ xᵏ within 2e-8 for 0 ≤ x ≤ 1, below what fp32 holds.
_A1, _A2, _A3, _A4, _A5, _A6, _A7 = (
    np.float32(value / np.pi)
    for value in (-0.2145988016, 0.0889789874, -0.0501743046, 0.0308918810, -0.0170881256, 0.0066700901, -0.0012624911)
)


@njit(cache=True, nogil=True, fastmath=_FLAGS)
def frame_distances(  # noqa: PLR0912 - a loop a distance, each of which the compiler turns into vectors
    frame: FloatArray, block: FloatArray, first: int, kind: int, out: FloatArray
) -> None:
    """Fill ``(W,)`` ``out`` with the distances of a ``(D,)`` frame to columns ``first`` to ``first + W`` of a block.

    Features are summed in one order for every column: equal frames are at exactly equal distances.
    """
    size = len(frame) // 2 if kind == 3 else len(frame)
    width = len(out)
    for j in range(width):
        out[j] = 0
    for k in range(size):
        # Rows of the whole block: the compiler knows that they are contiguous.
        here, row = frame[k], block[k][first : first + width]
        if kind == 3:
            log, logs = frame[size + k], block[size + k][first : first + width]
            for j in range(width):
                out[j] += (here - row[j]) * (log - logs[j])
        elif kind == 2:
            for j in range(width):
                out[j] += (here - row[j]) * (here - row[j])
        else:
            for j in range(width):
                out[j] += here * row[j]
    if kind == 3:
        for j in range(width):
            out[j] *= _HALF
    elif kind == 2:
        for j in range(width):
            out[j] = np.sqrt(out[j])
    elif kind == 1:
        for j in range(width):
            out[j] = _ONE - min(max(out[j], -_ONE), _ONE)
    else:
        for j in range(width):
            cosine = out[j]
            x = min(abs(cosine), _ONE)
            angle = _A7 * x + _A6
            angle = angle * x + _A5
            angle = angle * x + _A4
            angle = angle * x + _A3
            angle = angle * x + _A2
            angle = angle * x + _A1
            angle = (angle * x + _RIGHT_ANGLE) * np.sqrt(_ONE - x)
            out[j] = _ONE - angle if cosine < 0 else angle


@njit(cache=True, nogil=True, fastmath=_FLAGS)
def path_mean(table: FloatArray, height: int, first: int, width: int, cost: DoubleArray, steps: IntArray) -> float:
    """Return the mean along the cheapest path through columns ``first`` to ``first + width`` of a table's first rows.

    Among predecessors of equal cost the diagonal one is taken, then the one with the shorter path. ``cost`` and
    ``steps`` are scratch.
    """
    total = 0.0
    for j in range(width):
        total += table[0, first + j]
        cost[j], steps[j] = total, j + 1
    for i in range(1, height):
        diagonal, diagonal_steps = cost[0], steps[0]
        left, left_steps = cost[0] + table[i, first], steps[0] + 1
        cost[0], steps[0] = left, left_steps
        for j in range(1, width):
            # cost[j] still holds the row above.
            above, above_steps = cost[j], steps[j]
            upward = above < left or (above == left and above_steps < left_steps)
            best = above if upward else left
            taken = above_steps if upward else left_steps
            straight = diagonal <= best
            left = (diagonal if straight else best) + table[i, first + j]
            left_steps = (diagonal_steps if straight else taken) + 1
            diagonal, diagonal_steps = above, above_steps
            cost[j], steps[j] = left, left_steps
    return float(cost[width - 1] / steps[width - 1])


@njit(cache=True, nogil=True, fastmath=_FLAGS)
def warp(
    frames: FloatArray, starts: IntArray, lengths: IntArray, other_starts: IntArray, other_lengths: IntArray,
    kind: int, same: int, out: FloatArray,
) -> None:  # fmt: skip
    """Fill ``(R, C)`` ``out`` with the mean distance along the best path of each pair (Sakoe and Chiba 1978, P = 0).

    Columns are taken in blocks, laid out feature by feature, so that rows of distances are made by vector instructions.
    With ``same`` tokens on both sides only one half is computed, and the diagonal is left.
    """
    dim, tallest, widest = frames.shape[1], lengths.max(), other_lengths.max()
    cost, steps = np.empty(widest, np.float64), np.empty(widest, np.int64)
    block = np.empty((dim, max(_BLOCK_FRAMES, widest)), np.float32)
    table = np.empty((tallest, block.shape[1]), np.float32)
    offsets = np.zeros(len(other_starts) + 1, np.int64)
    offsets[1:] = np.cumsum(other_lengths)
    first = 0
    while first < len(other_starts):
        after = first + 1
        while after < len(other_starts) and offsets[after + 1] - offsets[first] <= _BLOCK_FRAMES:
            after += 1
        place = 0
        for column in range(first, after):
            for frame in range(other_starts[column], other_starts[column] + other_lengths[column]):
                for k in range(dim):
                    block[k, place] = frames[frame, k]
                place += 1
        for row in range(min(len(starts), after - 1) if same else len(starts)):
            begin = max(first, row + 1) if same else first
            left, right = offsets[begin] - offsets[first], offsets[after] - offsets[first]
            for i in range(lengths[row]):
                frame_distances(frames[starts[row] + i], block, left, kind, table[i][left:right])
            for column in range(begin, after):
                place = offsets[column] - offsets[first]
                out[row, column] = path_mean(table, lengths[row], place, other_lengths[column], cost, steps)
                if same:
                    out[column, row] = out[row, column]
        first = after


@njit(cache=True, nogil=True)
def count_errors(
    distances: FloatArray, row_edges: IntArray, column_edges: IntArray, match: IntArray, same: int,
    errors: DoubleArray, counts: IntArray,
) -> None:  # fmt: skip
    """Fill errors and numbers of triples from ``(X, A and B)`` distances, tokens of a phone side by side.

    Equal distances count half.
    """
    for p in range(len(match)):
        a = match[p]
        if a < 0:
            continue
        for b in range(len(column_edges) - 1):
            if b == a:
                continue
            halves, pairs = 0, 0
            for x in range(row_edges[p], row_edges[p + 1]):
                for y in range(column_edges[a], column_edges[a + 1]):
                    if same and x == y:
                        continue
                    pairs += 1
                    near = distances[x, y]
                    for z in range(column_edges[b], column_edges[b + 1]):
                        far = distances[x, z]
                        halves += (near > far) + (near >= far)
            counts[p, b] = pairs * (column_edges[b + 1] - column_edges[b])
            if counts[p, b]:
                errors[p, b] = halves / (2 * counts[p, b])
