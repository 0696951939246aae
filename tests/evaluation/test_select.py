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
from speechunits.evaluation.layers import Choice, measure_layers
from speechunits.evaluation.select import regrets, select_clusters, select_layer
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


def test_the_latents_are_a_candidate_where_they_are_wanted(corpus, tmp_path):
    torch.manual_seed(0)
    # Wider than the context, whose first projection forgets all: nothing behind it tells one frame from another.
    config = EncoderConfig(channels=24, dim=16, layers=1, heads=2, ffn_dim=16, position_kernel=3, position_groups=4)
    encoder, path = Encoder(config), tmp_path / "encoder.safetensors"
    torch.nn.init.zeros_(encoder.context.projection.weight)
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    write_bundle(path, tensors, {"kind": "encoder", "encoder": to_tree(config)})
    found = {
        latents: select_layer(path, corpus[:18], corpus[18:], UnitsConfig(clusters=4, iterations=4, latents=latents))
        for latents in (False, True)
    }
    scores = {latents: choice.scores["predictability"] for latents, choice in found.items()}
    assert scores[True][1:] == pytest.approx(scores[False], abs=1e-6)
    assert scores[True][0] > max(scores[False])
    assert (found[True].layer, found[False].layer >= 0) == (-1, True)
    # Those who do not ask keep their keys.
    assert "latents" not in to_tree(UnitsConfig())


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


def test_the_number_of_units_is_the_one_of_which_most_survives(encoder_bundle, corpus):
    config = UnitsConfig(clusters=4, iterations=8, layer=1)
    choice = select_clusters(encoder_bundle, corpus[:18], corpus[18:], config, [9, 3, 5, 3])
    assert choice.sizes == (3, 5, 9)
    bits = choice.scores["view_information"]
    assert choice.clusters == choice.sizes[int(np.argmax(bits))]
    assert choice.to_tree()["sizes"] == [3, 5, 9]
    # Each is what the layer alone gives with so many units.
    for size, value in zip(choice.sizes, bits, strict=True):
        alone = measure_layers(
            encoder_bundle, corpus[:18], corpus[18:], config, ["view_information"], choices=[Choice(1, size)]
        )
        assert alone.scores["view_information"] == [value]


@pytest.mark.parametrize(("layer", "sizes"), [("auto", [3]), (1, []), (1, [1, 3])])
def test_sizes_that_are_none_are_named(encoder_bundle, corpus, layer, sizes):
    with pytest.raises(UsageError, match="sizes of at least 2 and a layer"):
        select_clusters(encoder_bundle, corpus[:18], corpus[18:], UnitsConfig(clusters=4, layer=layer), sizes)


def test_abx_may_judge_too(encoder_bundle, corpus):
    found = replace(measure_layers(encoder_bundle, corpus[:18], corpus[18:], UnitsConfig(clusters=4, iterations=2),
                                   ["predictability"]), abx=[0.3, 0.2, 0.25])  # fmt: skip
    costs = regrets(found, "abx")
    assert (costs["last"].chosen, costs["last"].regret) == (2, pytest.approx(0.05))
    assert costs["middle"].regret == 0
