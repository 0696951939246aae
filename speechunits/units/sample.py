"""A uniform sample of frames over a corpus, in one streamed pass and bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.frames import FRAME_RATE_HZ

FloatArray = NDArray[np.float32]


class FrameSample:
    """The ``size`` frames with the lowest priorities, where a priority is drawn from (seed, recording, place).

    So the sample is uniform without replacement, and the same whatever the order in which recordings arrive.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.seen = 0
        """Frames offered."""
        self._rows: list[FloatArray] = []
        self._priorities: list[NDArray[np.float64]] = []
        self._held = 0
        self._limit = np.inf

    def add(self, recording: str, first: int, features: FloatArray) -> None:
        """Offer the ``(S, D)`` frames of a recording that begin at its frame ``first``."""
        digest = hashlib.sha256(recording.encode("utf-8", "surrogateescape")).digest()
        generator = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "little"), first])
        priorities = generator.random(len(features))
        self.seen += len(features)
        chosen = priorities < self._limit
        self._rows.append(features[chosen])
        self._priorities.append(priorities[chosen])
        self._held += int(chosen.sum())
        if self._held > 2 * self.size + len(features):
            self._shrink()

    def _shrink(self) -> None:
        rows, priorities = np.concatenate(self._rows), np.concatenate(self._priorities)
        order = np.argsort(priorities, kind="stable")[: self.size]
        self._rows, self._priorities, self._held = [rows[order]], [priorities[order]], len(order)
        if len(order) == self.size and self.size:
            self._limit = float(priorities[order[-1]])

    def frames(self) -> FloatArray:
        """Return the ``(N, D)`` sample, N = min(size, frames seen), in an order that depends on the seed only."""
        if not self._rows:
            return np.zeros((0, 0), np.float32)
        self._shrink()
        return self._rows[0]


def sample_frames(frames: Iterable[tuple[str, int, FloatArray]], size: int, seed: int) -> FloatArray:
    """Return a uniform ``(N, D)`` sample from (recording, first frame, ``(S, D)`` features) triples."""
    sample = FrameSample(size, seed)
    for recording, first, features in frames:
        sample.add(recording, first, features)
    return sample.frames()


def part(recordings: Sequence[Recording], size: int, seed: int) -> list[Recording]:
    """Return recordings in a seeded order, the same in whatever order they come, until they have ``size`` frames."""
    ordered = sorted(recordings, key=lambda recording: recording.id)
    chosen, frames = [], 0.0
    for place in np.random.default_rng(seed).permutation(len(ordered)):
        if frames >= size:
            break
        chosen.append(ordered[place])
        frames += ordered[place].duration_s * FRAME_RATE_HZ
    return chosen
