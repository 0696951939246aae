from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from speechunits.asr.frozen import FrozenLayers
from speechunits.encoder.encoder import Encoder
from speechunits.features.mel import LogMel
from speechunits.frames import frame_count, frame_counts
from tests.asr.tiny import ENCODER, batch, recognizer


@pytest.fixture
def encoder():
    """Return an encoder in training mode, and the lengths of the batches that it has heard."""
    torch.manual_seed(0)
    made, heard = Encoder(replace(ENCODER, dropout=0.5)).train(), []
    made.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[1].tolist()))
    return made, heard


def noise(*lengths, seed=0):
    generator = np.random.default_rng(seed)
    rows = [torch.from_numpy(generator.normal(0, 0.1, length).astype(np.float32)) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(lengths)


@torch.no_grad()
def expected(encoder, row):
    made = Encoder(encoder.config).eval()
    made.load_state_dict(encoder.state_dict())
    return torch.stack([F.layer_norm(layer, layer.shape[-1:]) for layer in made(*row).layers], dim=1)[0]


def test_what_is_known_is_not_encoded_again_and_is_the_same_in_any_company(encoder):
    encoder, heard = encoder
    kept = FrozenLayers(2**30)
    waveforms, lengths = noise(9000, 5000, 7000)
    for order in ([0, 1], [2, 1, 0], [1], [1, 1, 2]):
        rows = waveforms[order][:, : int(lengths[order].max())]
        layers = kept.of(encoder, rows, lengths[order], None)
        assert layers.shape[2] == frame_count(rows.shape[1])
        for found, place in zip(layers, order, strict=True):
            frames = int(frame_counts(lengths[place]))
            alone = expected(encoder, (waveforms[place : place + 1, : lengths[place]], lengths[place : place + 1]))
            torch.testing.assert_close(found[:, :frames], alone, atol=1e-5, rtol=1e-4)
            assert not found[:, frames:].any()
    assert heard == [[9000], [5000], [7000]]
    assert encoder.training


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_the_batch_in_which_it_comes_first(encoder, precision):
    encoder, _ = encoder
    waveforms, lengths = noise(30_000, 24_000, 27_000, 9000)
    found = []
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        for order in ([0, 1, 2, 3], [1, 2], [1], [3, 1]):
            rows = waveforms[order][:, : int(lengths[order].max())]
            for with_mel in (False, True):
                mel = LogMel(encoder.config.mel_bins)(rows, lengths[order])[0] if with_mel else None
                layers = FrozenLayers(2**30 if with_mel else 0).of(encoder, rows, lengths[order], mel)
                found.append(layers[order.index(1), :, : int(frame_counts(lengths[1]))])
    assert all(torch.equal(row, found[0]) for row in found[1:])


def test_beyond_its_limit_it_keeps_nothing_and_gives_the_same(encoder):
    encoder, heard = encoder
    waveforms, lengths = noise(9000, 5000)
    unlimited, limited, none = FrozenLayers(2**30), FrozenLayers(12_000), FrozenLayers(0)
    for _ in range(3):
        layers = unlimited.of(encoder, waveforms, lengths, None)
        for bounded in (limited, none):
            torch.testing.assert_close(bounded.of(encoder, waveforms, lengths, None), layers, atol=1e-5, rtol=1e-4)
    # Of the two rows one fits.
    assert 0 < limited.kept_bytes <= 12_000 < unlimited.kept_bytes
    assert none.kept_bytes == 0
    assert len(heard) == 2 + (2 + 1 + 1) + 3 * 2


def test_it_forgets_when_told_to(encoder):
    encoder, heard = encoder
    kept, row = FrozenLayers(2**30), noise(4000)
    before = kept.of(encoder, *row, None)
    with torch.no_grad():
        encoder.frontend.refine.weight.mul_(2)
    assert torch.equal(kept.of(encoder, *row, None), before)
    kept.forget()
    assert kept.kept_bytes == 0
    assert not torch.equal(kept.of(encoder, *row, None), before)
    assert len(heard) == 2


def test_other_samples_of_the_same_length_are_another_row(encoder):
    encoder, heard = encoder
    kept = FrozenLayers(2**30)
    kept.of(encoder, *noise(4000), None)
    kept.of(encoder, *noise(4000, seed=1), None)
    assert len(heard) == 2


def test_rows_too_short_for_a_frame(encoder):
    assert FrozenLayers(2**30).of(encoder[0], *noise(300, 200), None).shape[2] == 0


def test_a_recogniser_encodes_once_while_frozen_and_each_time_when_it_learns():
    made = recognizer("pretrained", logmel_beside=True, frozen=0.5, dropout=0.0).train()
    heard = []
    made.network.encoder.register_forward_pre_hook(lambda *_: heard.append(1))
    data = batch(["ab", "cbacb"], made.tokenizer)
    made.set_progress(0, 10)
    first = made(data)
    assert torch.equal(made(data).sum, first.sum)  # nor does the encoder drop out
    assert len(heard) == 2  # each row alone
    assert int(made.training_flops(data.lengths)) == 0
    made.set_progress(5, 10)
    made(data)
    made(data)
    assert len(heard) == 4
    assert int(made.training_flops(data.lengths)) > 0
    # What was known before the encoder learnt is not used after it.
    made.set_progress(0, 10)
    made(data)
    made.finish()
    made.eval()(data)
    assert len(heard) == 7
