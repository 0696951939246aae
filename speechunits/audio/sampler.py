"""Which audio is in which batch: a function of (seed, epoch), so that resuming needs two numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from speechunits.config import BatchConfig
from speechunits.frames import HOP, RECEPTIVE_FIELD, SAMPLE_RATE_HZ

PADDING_STEP = 4 * HOP
"""Batches are padded to multiples of 80 ms: with some 70 shapes, whose CPU kernels stay cached, 1 % of padding."""
PADDING_TAIL = RECEPTIVE_FIELD - HOP
"""Samples the last frame needs beyond the hop grid."""
_POOL_BATCHES = 64
"""Batches within which pieces are sorted by length: enough for little padding, few enough to stay random."""
_LEAST_BATCHES = 8
"""Steps an epoch has at least: a few utterances are passed over several times, so that batches are full."""
_LEAST_BLUR = 4
"""Places by which pieces sorted by length are shuffled, at least; else as many as a batch has rows.

Otherwise the same utterances would meet in every epoch. Places, not seconds: where there are thousands, neighbours are
as good as equally long and hardly padded; where there are dozens, they still mix.
"""
_COUNTED_PIECES = 1_000_000
"""Pieces after which the rest of a budget is no longer counted: they take some ten seconds to make.

Of utterances of 3 s, 800 hours; an epoch that is begun is counted to its end.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one recording: samples ``start`` to ``stop`` at 16 kHz, then played ``speed`` times as fast."""

    index: int
    start: int
    stop: int
    speed: float = 1.0

    @property
    def samples(self) -> int:
        """Samples after the change of speed."""
        return round((self.stop - self.start) / self.speed)

    @property
    def source_s(self) -> float:
        """Seconds of source audio: what a budget counts."""
        return (self.stop - self.start) / SAMPLE_RATE_HZ


Batch = tuple[Piece, ...]


def padded_samples(samples: int) -> int:
    """Return the samples to which a batch whose longest row has ``samples`` samples is padded."""
    return math.ceil(max(samples - PADDING_TAIL, 1) / PADDING_STEP) * PADDING_STEP + PADDING_TAIL


def fill_batches(pieces: Iterable[Piece], batch_s: float) -> list[Batch]:
    """Group pieces in the given order; a batch, its rows as long as its longest, stays within ``batch_s`` seconds.

    A piece longer than that is a batch of its own. Pieces sorted by length waste the least.
    """
    limit = batch_s * SAMPLE_RATE_HZ
    batches: list[Batch] = []
    batch: list[Piece] = []
    longest = 0
    for piece in pieces:
        # The padding to whole 80 ms steps is left out: crops of exactly 10 s must fill 80 s with eight rows.
        longest = max(longest, piece.samples)
        if batch and longest * (len(batch) + 1) > limit:
            batches.append(tuple(batch))
            batch, longest = [], piece.samples
        batch.append(piece)
    if batch:
        batches.append(tuple(batch))
    return batches


def consecutive_batches(
    samples: Sequence[int], config: BatchConfig, *, crop: bool, groups: Sequence[str] | None = None
) -> list[Batch]:
    """Return batches that cover recordings of ``samples`` samples once, without chance: for held-out evaluation.

    With ``groups``, a name for each recording, those of a group are next to each other.
    """
    size = _crop_samples(config) if crop else None
    pieces = []
    for index, total in enumerate(samples):
        edges = [0, total] if size is None else [*range(0, total, size), total]
        pieces += [Piece(index, a, b) for a, b in pairwise(edges) if b - a >= _least(config)]
    pieces.sort(key=lambda piece: piece.samples)
    if groups is not None:
        pieces.sort(key=lambda piece: groups[piece.index])
    return fill_batches(pieces, config.batch_s)


class Sampler:
    """The order of training: ``per_step`` batches (ranks × accumulation) make a step, steps make an epoch.

    With ``crop`` each recording is cut at a random phase into pieces of at most ``crop_s`` that start at multiples of
    320 samples, so an epoch sees all audio once; without it, recordings stay whole. Epochs of small corpora hold
    several passes. ``speeds`` are factors drawn for every piece; ``least_samples`` gives, for each recording, the
    samples below which a change of speed may not bring it (a transcript needs its frames). With ``groups``, a name for
    each recording, a batch is of few groups: as many rows as can be have others of their own, at the price of padding.
    """

    def __init__(
        self,
        samples: Sequence[int],
        config: BatchConfig,
        *,
        seed: int,
        per_step: int = 1,
        crop: bool = True,
        speeds: Sequence[float] = (1.0,),
        least_samples: Sequence[int] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        self._samples = samples
        self._config = config
        self._seed = seed
        self._crop = crop
        self._speeds = tuple(speeds)
        self._least_samples = least_samples
        self._groups = groups
        self._epochs: dict[int, list[Batch]] = {}
        self.per_step = per_step
        self.kept = [index for index, count in enumerate(samples) if count >= _least(config)]
        self.left_out = len(samples) - len(self.kept)
        """Recordings shorter than ``min_s``."""

    def epoch(self, epoch: int) -> list[Batch]:
        """Return the batches of an epoch; their number is a multiple of ``per_step``. Empty without recordings."""
        if epoch not in self._epochs:
            # Two epochs are in use where one ends; older ones are never asked for again.
            self._epochs = {key: value for key, value in self._epochs.items() if key >= epoch - 1}
            self._epochs[epoch] = self._make_epoch(epoch)
        return self._epochs[epoch]

    def steps(self, epoch: int) -> int:
        """Return the number of steps of an epoch."""
        return len(self.epoch(epoch)) // self.per_step

    def step(self, epoch: int, position: int) -> list[Batch]:
        """Return the ``per_step`` batches of one step."""
        first = position * self.per_step
        return self.epoch(epoch)[first : first + self.per_step]

    def steps_for(self, hours: float) -> int:
        """Return the number of steps after which the source audio seen first reaches ``hours``: at least one.

        To count it exactly, epochs must be made. Where that would be more than a million pieces, the steps of the rest
        are as long as those counted, on average: each epoch reads the same recordings.

        Raises
        ------
        ValueError
            If no recording is long enough to train on.
        """
        if not self.kept:
            raise ValueError("no recording is long enough to train on")
        wanted_s, seen_s, steps, epoch, pieces = hours * 3600, 0.0, 0, 0, 0
        while pieces < _COUNTED_PIECES:
            seconds = np.array([sum(piece.source_s for piece in batch) for batch in self.epoch(epoch)])
            pieces += sum(map(len, self.epoch(epoch)))
            seen = seen_s + np.cumsum(seconds.reshape(-1, self.per_step).sum(axis=1))
            # A second counts once its step is done; half a sample of rounding must not cost a step.
            reached = int(np.searchsorted(seen, wanted_s - 1e-6))
            if reached < len(seen):
                return steps + reached + 1
            seen_s, steps, epoch = float(seen[-1]), steps + len(seen), epoch + 1
        return steps + math.ceil((wanted_s - seen_s) * steps / seen_s)

    def _make_epoch(self, epoch: int) -> list[Batch]:
        if not self.kept:
            return []
        rng = np.random.default_rng([self._seed, epoch])
        step_s = self._config.batch_s * self.per_step
        total_s = sum(self._samples[index] for index in self.kept) / SAMPLE_RATE_HZ
        pieces: list[Piece] = []
        for _ in range(max(1, math.ceil(_LEAST_BATCHES * step_s / total_s))):
            for index in rng.permutation(self.kept).tolist():
                pieces += self._cut(index, rng)
        pool = max(1, round(len(pieces) * _POOL_BATCHES * step_s / sum(piece.source_s for piece in pieces)))
        batches: list[Batch] = []
        for first in range(0, len(pieces), pool):
            part = pieces[first : first + pool]
            part.sort(key=lambda piece: piece.samples)
            rows = self._config.batch_s * SAMPLE_RATE_HZ * len(part) / sum(piece.samples for piece in part)
            places = np.arange(len(part)) + rng.uniform(0, max(rows, _LEAST_BLUR), len(part))
            order = [part[place] for place in np.argsort(places, kind="stable")]
            batches += fill_batches(self._grouped(order, rng), self._config.batch_s)
        batches = [batches[place] for place in rng.permutation(len(batches))]
        if len(batches) < self.per_step:
            return [batches[place % len(batches)] for place in range(self.per_step)]
        return batches[: len(batches) - len(batches) % self.per_step]

    def _grouped(self, pieces: list[Piece], rng: np.random.Generator) -> list[Piece]:
        """Return pieces with those of a group next to each other, in a random order of groups; as they are without."""
        groups = self._groups
        if groups is None:
            return pieces
        names = sorted({groups[piece.index] for piece in pieces})
        rank = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
        return sorted(pieces, key=lambda piece: rank[groups[piece.index]])

    def _cut(self, index: int, rng: np.random.Generator) -> list[Piece]:
        total = self._samples[index]
        size = _crop_samples(self._config)
        if not self._crop or total <= size:
            return [Piece(index, 0, total, self._speed(index, total, rng))]
        phase = int(rng.integers(size // HOP)) * HOP
        edges = [0, *range(phase or size, total, size), total]
        return [Piece(index, a, b) for a, b in pairwise(edges) if b - a >= _least(self._config)]

    def _speed(self, index: int, total: int, rng: np.random.Generator) -> float:
        if len(self._speeds) == 1:
            return self._speeds[0]
        speed = float(rng.choice(self._speeds))
        least = 0 if self._least_samples is None else self._least_samples[index]
        return 1.0 if total / speed < least + 1 else speed


def _crop_samples(config: BatchConfig) -> int:
    return max(1, int(config.crop_s * SAMPLE_RATE_HZ) // HOP) * HOP


def _least(config: BatchConfig) -> int:
    # A crop is whole frames: where it may be no longer than the least, it must not be less.
    return max(RECEPTIVE_FIELD, min(round(config.min_s * SAMPLE_RATE_HZ), _crop_samples(config)))
