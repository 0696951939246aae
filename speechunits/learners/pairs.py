"""Two views of a batch: encoded together, and the frames they share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.encoder.encoder import Encoder
from speechunits.frames import frame_counts, frames_mask
from speechunits.learners.targets import batch_generator, non_silent


class Pairs(NamedTuple):
    """N frames seen twice."""

    first: Tensor
    """``(N, D)``."""
    second: Tensor
    """``(N, D)``."""
    rows: Tensor
    """``(N,)`` int64 row of each pair in the batch."""
    speech: Tensor
    """``(N,)``, true where the frame is not silent."""


def second_view(batch: AudioBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return waveforms and lengths of the second view, and the matches.

    Raises
    ------
    ValueError
        If the batch has one view only.
    """
    if batch.second is None or batch.second_lengths is None or batch.matches is None:
        raise ValueError("the learner compares two views of a batch, but this one has one only")
    return batch.second, batch.second_lengths, batch.matches


def shared_frames(batch: AudioBatch, matches: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(N,)`` row, frame, and frame of the second view of at most ``most`` pairs, drawn by the batch's seed."""
    frame_lengths = frame_counts(batch.lengths)
    assert batch.second_lengths is not None
    limits = frame_counts(batch.second_lengths)[:, None]
    valid = frames_mask(frame_lengths, matches.shape[1]) & (matches >= 0) & (matches < limits)
    rows, frames = valid.nonzero(as_tuple=True)
    if len(rows) > most:
        generator = batch_generator(batch.seed, rows.device)
        drawn = torch.randperm(len(rows), generator=generator, device=rows.device)[:most].sort().values
        rows, frames = rows[drawn], frames[drawn]
    return rows, frames, matches[rows, frames]


def encode_pairs(encoder: Encoder, head: nn.Module, batch: AudioBatch, most: int) -> Pairs:
    """Encode both views in one pass and return the projected outputs of at most ``most`` frames they share."""
    other, other_lengths, matches = second_view(batch)
    size = max(batch.waveforms.shape[1], other.shape[1])
    both = torch.cat([F.pad(view, (0, size - view.shape[1])) for view in (batch.waveforms, other)])
    output = encoder(both, torch.cat((batch.lengths, other_lengths))).output
    rows, frames, places = shared_frames(batch, matches, most)
    first, second = output.chunk(2)
    projected = head(torch.cat((first[rows, frames], second[rows, places])))
    speech = non_silent(batch.waveforms, frame_counts(batch.lengths))[rows, frames]
    one, two = projected.chunk(2)
    return Pairs(one, two, rows, speech)


def projection(dim: int, final_dim: int) -> nn.Sequential:
    """Return SimCLR's head, a perceptron with one hidden layer; without batch norm, which leaks between rows."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, final_dim))
