"""The layer that is best by the criterion on held-out speech is chosen; what a choice costs is its regret."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.config import EncoderConfig, UnitsConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.errors import UsageError
from speechunits.evaluation.criteria import MEASURED, criterion_values
from speechunits.evaluation.information import held_out_predictability
from speechunits.evaluation.layers import measure_layers
from speechunits.evaluation.select import regrets, select_layer
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
    config = UnitsConfig(clusters=4, iterations=8, criterion="predictability")
    choice = select_layer(encoder_bundle, corpus[:18], corpus[18:], config)
    bits = choice.scores["predictability"]
    assert len(bits) == 3
    assert choice.layer == int(np.argmax(bits))
    assert max(bits) > 0.5
    # One layer by the ordinary way gives the same figures.
    units = fit_units(
        encoder_bundle, corpus[:18], UnitsConfig(clusters=4, iterations=8, layer=1), path=tmp_path / "u.safetensors"
    )
    train, tune = ([ids for _, ids in units.recordings(part)] for part in (corpus[:18], corpus[18:]))
    assert held_out_predictability(train, tune, 4).bits == pytest.approx(bits[1], abs=1e-6)
    assert choice.to_tree() == {"layer": choice.layer, "criterion": "predictability", "scores": choice.scores}


def test_the_choice_does_not_depend_on_order(encoder_bundle, corpus):
    config = UnitsConfig(clusters=4, iterations=4)
    assert config.criterion == "predictability"
    config = replace(config, criterion="combined")
    first = select_layer(encoder_bundle, corpus[:18], corpus[18:], config)
    assert sorted(first.scores) == ["run_predictability", "stability", "view_information"]
    assert first.layer == int(np.argmax(criterion_values(first.scores, "combined")))
    again = select_layer(encoder_bundle, corpus[17::-1], corpus[:17:-1], config)
    assert again.layer == first.layer
    # Chance is drawn in the order of recordings: only that moves, a little.
    assert again.scores["view_information"] == pytest.approx(first.scores["view_information"], abs=0.02)


def test_every_criterion_is_measured_on_every_layer(encoder_bundle, corpus):
    voices = [replace(row, speaker="ab"[index % 2]) for index, row in enumerate(corpus)]
    spoken = [(row, [Phone(0.3 * place, 0.3 * (place + 1), "xyz"[(place + index) % 3]) for place in range(20)])
              for index, row in enumerate(voices[18:])]  # fmt: skip
    config = UnitsConfig(clusters=4, iterations=4)
    found = measure_layers(encoder_bundle, voices[:18], voices[18:], config, MEASURED, judged=spoken)
    assert sorted(found.scores) == sorted(MEASURED)
    assert {len(values) for values in found.scores.values()} == {len(found.pnmi)} == {3}
    assert all(0.5 < value <= 1 for value in found.scores["view_abx"])
    assert all(0.3 < value <= 1 for value in found.scores["stability"])
    costs = regrets(found)
    assert sorted(costs) == sorted([*MEASURED, "combined", "middle", "last"])
    assert all(cost.regret == max(found.pnmi) - found.pnmi[cost.chosen] >= 0 for cost in costs.values())
    assert (costs["middle"].chosen, costs["last"].chosen) == (1, 2)


def test_an_unknown_criterion_is_named(encoder_bundle, corpus):
    with pytest.raises(UsageError, match=r"must be one of .*combined, but is 'beauty'"):
        select_layer(encoder_bundle, corpus[:18], corpus[18:], UnitsConfig(clusters=4, criterion="beauty"))
    with pytest.raises(UsageError, match="needs speakers"):
        select_layer(encoder_bundle, corpus[:18], corpus[18:], UnitsConfig(clusters=4, criterion="speaker"))


def test_without_held_out_speech_there_is_no_choice(encoder_bundle, corpus):
    with pytest.raises(UsageError, match="held-out speech"):
        select_layer(encoder_bundle, corpus, [], UnitsConfig())
