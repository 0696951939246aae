"""Batches of training audio: crops on the frame grid, grouped by length, in an order made from (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.sampler import padded_samples
from speechunits.frames import SAMPLE_RATE_HZ, frame_count


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
    speakers: tuple[str, ...] = ()
    """Speaker of each row; the recording where nobody knows. Empty: nobody asked."""
    second: Tensor | None = None
    """``(B, T)`` a second view of each row, where the learner compares two."""
    second_lengths: Tensor | None = None
    """``(B,)`` int64 samples."""
    speech: Tensor | None = None
    """``(B, S)``, true at frames with speech, where ``waveforms`` were altered: noise hides what is silent."""
    matches: Tensor | None = None
    """``(B, S)`` int64: for each frame of ``waveforms`` the same moment's frame in ``second``, -1 where none is."""
    mel: Tensor | None = None
    """``(B, M, bins)`` fp32 log-mel of ``waveforms``, 0 beyond each row's real frames; None: the model computes it."""
    second_mel: Tensor | None = None
    """``(B, M, bins)`` that of ``second``."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio in the batch, padding excluded."""
        return float(self.lengths.sum()) / SAMPLE_RATE_HZ

    def to(self, device: torch.device, *, non_blocking: bool = False) -> AudioBatch:
        """Return the batch on another device."""
        moved = (part.to(device, non_blocking=non_blocking) if isinstance(part, Tensor) else part for part in self)
        return AudioBatch(*moved)  # type: ignore[arg-type]  # part by part of the same kind


class Row(NamedTuple):
    """One recording, or a piece of one, on its way into a batch."""

    id: str
    waveform: NDArray[np.float32]
    """``(T,)`` samples at 16 kHz."""
    units: NDArray[np.integer] | None = None
    """``(S,)`` target units of its frames."""
    tokens: NDArray[np.integer] | None = None
    """``(L,)`` CTC targets."""
    speaker: str = ""
    """Who speaks."""
    mel: NDArray[np.float32] | None = None
    """``(M, bins)`` log-mel of ``waveform``, where it is known already."""
    second: NDArray[np.float32] | None = None
    """``(U,)`` samples of another view, with ``matches``."""
    speech: NDArray[np.bool_] | None = None
    """``(S,)``, true at its frames with speech before it was altered."""
    matches: NDArray[np.int64] | None = None
    """``(S,)`` its frame for each frame of ``waveform``, -1 where none is."""


def collate(rows: Sequence[Row], *, seed: int) -> AudioBatch:
    """Pad rows to one length: waveforms with zeros, units and matches with -1, tokens with the blank (0)."""
    waveforms, lengths = _stacked([row.waveform for row in rows])
    seconds = [row.second for row in rows if row.second is not None]
    second, second_lengths = _stacked(seconds) if seconds else (None, None)
    matches = [row.matches for row in rows if row.matches is not None]
    speech = [row.speech.astype(np.int64) for row in rows if row.speech is not None]
    width = waveforms.shape[1]
    units = [row.units for row in rows if row.units is not None]
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return AudioBatch(
        waveforms=waveforms,
        lengths=lengths,
        ids=tuple(row.id for row in rows),
        seed=seed,
        units=_padded(units, frame_count(width), -1) if units else None,
        tokens=_padded(tokens, max(1, *(len(row) for row in tokens), 1), 0) if tokens else None,
        token_lengths=torch.tensor([len(row) for row in tokens]) if tokens else None,
        speakers=tuple(row.speaker or row.id for row in rows),
        second=second,
        second_lengths=second_lengths,
        speech=_padded(speech, frame_count(width), 0).bool() if speech else None,
        matches=_padded(matches, frame_count(width), -1) if matches else None,
    )


def _stacked(rows: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    lengths = [len(row) for row in rows]
    stacked = torch.zeros(len(rows), padded_samples(max(lengths)))
    for place, row in enumerate(rows):
        stacked[place, : lengths[place]] = torch.from_numpy(row)
    return stacked, torch.tensor(lengths)


def _padded(rows: Sequence[NDArray[np.integer]], width: int, value: int) -> Tensor:
    padded = torch.full((len(rows), width), value, dtype=torch.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded
