"""The layer whose units are most predictable on held-out speech is chosen."""

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.config import EncoderConfig, UnitsConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.errors import UsageError
from speechunits.evaluation.information import held_out_predictability
from speechunits.evaluation.select import select_layer
from speechunits.units.bundle import write_bundle
from speechunits.units.fit import fit_units


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    recordings = []
    for index in range(24):
        # Noise whose level holds for three tenths of a second: predictable from one frame to the next.
        level = np.repeat(rng.choice([0.001, 0.01, 0.1], 20), 4_800)
        waveform = level * rng.standard_normal(96_000)
        soundfile.write(folder / f"{index}.wav", waveform.astype(np.float32), 16_000)
        recordings.append(Recording(id=str(index), audio=folder / f"{index}.wav", duration_s=6.0))
    return recordings


@pytest.fixture(scope="module")
def encoder_bundle(tmp_path_factory):
    torch.manual_seed(0)
    config = EncoderConfig(channels=16, dim=16, layers=2, heads=2, ffn_dim=16, position_kernel=3, position_groups=4)
    tensors = {f"encoder.{name}": tensor for name, tensor in Encoder(config).state_dict().items()}
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    write_bundle(path, tensors, {"kind": "encoder", "encoder": to_tree(config)})
    return path


def test_the_choice_is_the_layer_with_the_most_bits(encoder_bundle, corpus, tmp_path):
    config = UnitsConfig(clusters=4, iterations=8)
    choice = select_layer(encoder_bundle, corpus[:18], corpus[18:], config)
    bits = [layer.bits for layer in choice.frames]
    assert len(bits) == len(choice.runs) == 3
    assert choice.layer == int(np.argmax(bits))
    assert max(bits) > 0.5
    # One layer by the ordinary way gives the same figures.
    units = fit_units(
        encoder_bundle, corpus[:18], UnitsConfig(clusters=4, iterations=8, layer=1), path=tmp_path / "u.safetensors"
    )
    train, tune = ([ids for _, ids in units.recordings(part)] for part in (corpus[:18], corpus[18:]))
    assert held_out_predictability(train, tune, 4).bits == pytest.approx(bits[1], abs=1e-6)
    assert choice.to_tree()["bits_a_frame"] == bits


def test_the_choice_does_not_depend_on_order(encoder_bundle, corpus):
    config = UnitsConfig(clusters=4, iterations=4)
    first = select_layer(encoder_bundle, corpus[:18], corpus[18:], config)
    assert select_layer(encoder_bundle, corpus[17::-1], corpus[18:], config) == first


def test_without_held_out_speech_there_is_no_choice(encoder_bundle, corpus):
    with pytest.raises(UsageError, match="held-out speech"):
        select_layer(encoder_bundle, corpus, [], UnitsConfig())
