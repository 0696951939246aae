"""Padding of rows into batches."""

import numpy as np
import torch

from speechunits.audio.batch import Row, collate
from speechunits.frames import frame_count


def row(samples, **labels):
    return Row(id=f"r{samples}", waveform=np.full(samples, 0.5, np.float32), **labels)


def test_rows_are_padded_with_zeros():
    batch = collate([row(1000), row(6480), row(400)], seed=7)
    assert batch.waveforms.shape == (3, 6480)
    assert batch.lengths.tolist() == [1000, 6480, 400]
    assert batch.waveforms.sum(1).tolist() == [500, 3240, 200]
    assert batch.ids == ("r1000", "r6480", "r400")
    assert (batch.seed, batch.units, batch.tokens) == (7, None, None)
    assert batch.audio_s == 7880 / 16_000


def test_units_cover_the_frames_of_the_padded_batch():
    batch = collate([row(1000, units=np.arange(2)), row(700, units=np.array([5]))], seed=0)
    assert batch.units.shape == (2, frame_count(batch.waveforms.shape[1]))
    assert batch.units.dtype == torch.int64
    assert batch.units[0, :3].tolist() == [0, 1, -1]
    assert batch.units[1, :2].tolist() == [5, -1]


def test_tokens_are_padded_with_the_blank():
    rows = [row(1000, tokens=np.array([3, 4, 4], np.int32)), row(900, tokens=np.zeros(0, np.int32))]
    batch = collate(rows, seed=0)
    assert batch.tokens.tolist() == [[3, 4, 4], [0, 0, 0]]
    assert batch.token_lengths.tolist() == [3, 0]


def test_a_batch_moves_with_all_its_tensors():
    batch = collate([row(1000, units=np.arange(2))], seed=3).to(torch.device("meta"))
    assert {batch.waveforms.device.type, batch.lengths.device.type, batch.units.device.type} == {"meta"}
    assert (batch.ids, batch.seed, batch.tokens) == (("r1000",), 3, None)
