"""Two views of a batch: encoded together, and the frames they share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.encoder.encoder import Encoder
from speechunits.frames import frame_counts
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.targets import batch_generator, speech_frames
from speechunits.objectives.chosen import chosen_places, waits_for_counts


class PairLearner(Pretrainer):
    """A method that encodes both views of every row."""

    def encoded_lengths(self, batch: AudioBatch) -> Tensor:
        """Return the samples of both views of every row."""
        _, other_lengths, _ = second_view(batch)
        return torch.cat((batch.lengths, other_lengths))


class Pairs(NamedTuple):
    """N frames seen twice; those that are not ``real`` come last, and are only there where N must not be asked for."""

    first: Tensor
    """``(N, D)``."""
    second: Tensor
    """``(N, D)``."""
    rows: Tensor
    """``(N,)`` int64 row of each pair in the batch."""
    speech: Tensor
    """``(N,)``, true where the frame is not silent."""
    real: Tensor
    """``(N,)``, true where there is a pair."""


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


def shared_frames(
    batch: AudioBatch, matches: Tensor, counted: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``(N,)`` row, frame, and frame of the second view of at most ``most`` pairs, drawn by the batch's seed.

    Last ``(N,)``, true where there is such a pair. ``(B, S)`` ``counted`` says which frames of the first view may be
    drawn.
    """
    assert batch.second_lengths is not None
    limits = frame_counts(batch.second_lengths)[:, None]
    valid = counted & (matches >= 0) & (matches < limits)
    index, real = chosen_places(valid)
    if len(index) > most:
        generator = batch_generator(batch.seed, index.device)
        if waits_for_counts(index.device):
            scores = torch.rand(len(index), generator=generator, device=index.device).masked_fill(~real, -1.0)
            drawn = scores.topk(most).indices.sort().values
        else:
            drawn = torch.randperm(len(index), generator=generator, device=index.device)[:most].sort().values
        index, real = index[drawn], real[drawn]
    rows, frames = index // matches.shape[1], index % matches.shape[1]
    return rows, frames, torch.where(real, matches[rows, frames], 0), real


def encode_pairs(encoder: Encoder, head: nn.Module, batch: AudioBatch, counted: Tensor, most: int) -> Pairs:
    """Encode both views in one pass and return the projected outputs of at most ``most`` frames they share.

    ``(B, S)`` ``counted`` says which frames of the first view may be among them.
    """
    other, other_lengths, matches = second_view(batch)
    size = max(batch.waveforms.shape[1], other.shape[1])
    both = torch.cat([F.pad(view, (0, size - view.shape[1])) for view in (batch.waveforms, other)])
    lengths = torch.cat((batch.lengths, other_lengths))
    output = encoder(both, lengths, every_layer=False, mel=_both_mels(batch)).output
    rows, frames, places, real = shared_frames(batch, matches, counted, most)
    first, second = output.chunk(2)
    projected = head(torch.cat((first[rows, frames], second[rows, places])))
    speech = speech_frames(batch)[rows, frames]
    one, two = projected.chunk(2)
    return Pairs(one, two, rows, speech, real)


def _both_mels(batch: AudioBatch) -> Tensor | None:
    """Return the ``(2 B, M, bins)`` log-mel of both views, where both are there."""
    mels = [mel for mel in (batch.mel, batch.second_mel) if mel is not None]
    if len(mels) < 2:
        return None
    size = max(mel.shape[1] for mel in mels)
    return torch.cat([F.pad(mel, (0, 0, 0, size - mel.shape[1])) for mel in mels])


def projection(dim: int, final_dim: int) -> nn.Sequential:
    """Return SimCLR's head, a perceptron with one hidden layer; without batch norm, which leaks between rows."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, final_dim))
