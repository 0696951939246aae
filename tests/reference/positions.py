"""Slow oracle of WavLM's gated relative position bias (Chen et al. 2022, equations 2 to 5), by loops."""

from __future__ import annotations

import math

import numpy as np


def bucket(offset, buckets, distance):
    """Return the bucket of offset j − i: half of them behind, half ahead; exact first, then logarithmic."""
    half = buckets // 2
    base = half if offset > 0 else 0
    far = abs(offset)
    if far < half // 2:
        return base + far
    growth = (math.log(far) - math.log(half // 2)) / (math.log(distance) - math.log(half // 2))
    # Offsets exactly on an edge belong above it, which rounding must not undo.
    return base + min(half - 1, math.floor(half // 2 + growth * (half - half // 2) + 1e-9))


def gated_bias(frames, embedding, weight, bias, scale, distance):
    """Return the ``(H, S, S)`` bias of ``(S, D)`` frames; ``embedding`` is ``(buckets, H)``."""
    size, dim = frames.shape
    heads = embedding.shape[1]
    width = dim // heads
    result = np.zeros((heads, size, size))
    for head in range(heads):
        for i in range(size):
            query = frames[i, head * width : (head + 1) * width].astype(np.float64)
            projected = weight.astype(np.float64) @ query + bias
            update = 1 / (1 + math.exp(-projected[:4].sum()))
            reset = 1 / (1 + math.exp(-projected[4:].sum()))
            for j in range(size):
                learned = float(embedding[bucket(j - i, len(embedding), distance), head])
                # r_ij = d + g_u d + (1 − g_u) w g_r d, in the rearranged form: (g_u (g_r w − 1) + 2) d
                result[head, i, j] = (update * (reset * scale[head] - 1) + 2) * learned
    return result
