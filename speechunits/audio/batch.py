"""Batches of training audio: crops on the frame grid, grouped by length, in an order made from (seed, epoch)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from speechunits.frames import SAMPLE_RATE_HZ


class AudioBatch(NamedTuple):
    """Padded crops with their labels. A tuple, so that data-parallel wrappers find the tensors inside."""

    waveforms: Tensor
    """``(B, T)`` float32 samples at 16 kHz, zero beyond each length."""
    lengths: Tensor
    """``(B,)`` int64 samples."""
    ids: tuple[str, ...]
    """Recording of each row."""
    seed: int
    """Seeds the masks and negatives of this batch: a function of (seed, step, rank)."""
    units: Tensor | None = None
    """``(B, S)`` int64 target units of the crops' frames, -1 beyond each length."""
    tokens: Tensor | None = None
    """``(B, L)`` int64 CTC targets, 0 (blank) beyond each length."""
    token_lengths: Tensor | None = None
    """``(B,)`` int64."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio in the batch, padding excluded."""
        return float(self.lengths.sum()) / SAMPLE_RATE_HZ
