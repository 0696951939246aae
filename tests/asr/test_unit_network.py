"""Recognisers that read units: what they read, and that nothing else reaches them."""

import numpy as np
import pytest
import torch

from speechunits.asr.recognizer import build_recognizer, recognizer_from_bundle
from speechunits.asr.tokens import build_tokenizer
from speechunits.config import FinetuneConfig
from speechunits.errors import UsageError
from speechunits.units.bundle import read_bundle, write_bundle
from speechunits.units.sequence import merged, runs
from speechunits.units.units import Units
from tests.asr.tiny import TONES_HZ, batch


@pytest.fixture(scope="module")
def inventory(tiny_runs):
    return Units.load(tiny_runs / "tiny" / "units.safetensors")


def recognizer(inventory, reads="units", **changes):
    config = FinetuneConfig(side="units", unit_input=reads, dropout=0.0, **changes)
    return build_recognizer(config, build_tokenizer(TONES_HZ), inventory=inventory)


def test_it_reads_the_units_that_the_inventory_writes(inventory):
    made = recognizer(inventory)
    data = batch(["abc", "cb"], made.tokenizer)
    symbols = made.network.symbols(data.waveforms, data.lengths)
    for row, length in enumerate(data.lengths.tolist()):
        units = inventory.units(data.waveforms[row, :length].numpy())
        assert symbols[row, : len(units)].tolist() == units.tolist()
        assert not symbols[row, len(units) :].any()


def test_with_pieces_each_frame_has_the_piece_its_run_lies_in(inventory):
    made = recognizer(inventory, "pieces")
    data = batch(["abcab"], made.tokenizer)
    units = inventory.units(data.waveforms[0, : data.lengths[0]].numpy())
    expected = []
    lengths = [run.frames for run in runs(units)]
    for piece in inventory.pseudotext.encode_ids(merged(units).tolist()):
        for _ in inventory.pseudotext.decode_ids([piece]):
            expected += [piece] * lengths.pop(0)
    assert made.network.symbols(data.waveforms, data.lengths)[0, : len(units)].tolist() == expected


def test_rows_that_come_again_are_remembered_whatever_stands_beside_them(inventory, monkeypatch):
    made, fresh = recognizer(inventory), recognizer(inventory)
    data = batch(["abc", "cb"], made.tokenizer)
    made.network.symbols(data.waveforms, data.lengths)
    waveforms, lengths = data.waveforms.flip(0) * torch.tensor([[1.0], [0.5]]), data.lengths.flip(0)
    expected = fresh.network.symbols(waveforms, lengths)
    found, units = [], inventory.units
    monkeypatch.setattr(inventory, "units", lambda samples: found.append(len(samples)) or units(samples))
    assert torch.equal(made.network.symbols(waveforms, lengths), expected)
    assert found == [lengths[1]], "the row that was heard before is known; the other is only half as loud"
    monkeypatch.setattr("speechunits.asr.unit_network._KEPT_FRAMES", 0)
    fresh = recognizer(inventory)
    for _ in range(2):
        assert torch.equal(fresh.network.symbols(waveforms, lengths), expected)
    assert len(found) == 5, "nothing is kept beyond the limit"


def test_recordings_of_equal_units_are_equal_to_it(inventory, monkeypatch):
    made = recognizer(inventory).eval()
    data = batch(["ab", "cc"], made.tokenizer)
    length = int(data.lengths.min())
    monkeypatch.setattr(inventory, "units", lambda samples: np.arange(len(samples) // 320 - 1) % inventory.clusters)
    logits, _ = made.logits(data.waveforms[:, :length], torch.tensor([length, length]))
    torch.testing.assert_close(logits[0], logits[1])


def test_the_inventory_is_frozen_and_the_rest_learns(inventory):
    made = recognizer(inventory)
    loss = made(batch(["abc", "cb"], made.tokenizer))
    loss.sum.backward()
    assert not any(name.startswith("network.inventory") for name, _ in made.named_parameters())
    assert made.network.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("reads", ["units", "pieces"])
def test_a_bundle_brings_its_inventory(inventory, reads, tmp_path):
    made = recognizer(inventory, reads).eval()
    torch.nn.init.normal_(made.head.weight)
    write_bundle(tmp_path / "asr.safetensors", *made.export())
    again = recognizer_from_bundle(*read_bundle(tmp_path / "asr.safetensors", "recognizer"))
    data = batch(["abc", "cb"], made.tokenizer)
    assert torch.equal(again.logits(data.waveforms, data.lengths)[0], made.logits(data.waveforms, data.lengths)[0])


def test_padding_and_neighbours_change_nothing(inventory):
    made = recognizer(inventory).eval()
    data = batch(["abc", "cbabcab"], made.tokenizer)
    logits, lengths = made.logits(data.waveforms, data.lengths)
    alone, _ = made.logits(data.waveforms[:1, : data.lengths[0]], data.lengths[:1])
    torch.testing.assert_close(alone[0], logits[0, : lengths[0]], atol=1e-5, rtol=1e-4)


def test_it_must_be_given_units(inventory):
    with pytest.raises(ValueError, match="must be given an inventory"):
        recognizer(None)
    bare = Units({name: value for name, value in inventory.tensors.items() if name != "units.pseudotext"},
                 inventory.header)  # fmt: skip
    with pytest.raises(UsageError, match="no pseudo-text model"):
        recognizer(bare, "pieces")
