import json
from dataclasses import replace

import pytest
import torch

from speechunits.asr.baseline import LogMelNetwork
from speechunits.compute import encoder_passes, extra_hours
from speechunits.config import EncoderConfig, PretrainConfig, build_config, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import encoder_flops, transformer_flops
from speechunits.errors import UsageError
from speechunits.units.bundle import write_bundle
from tests.asr.tiny import ENCODER


def test_the_baselines_get_what_pretraining_took(tmp_path):
    encoder, record = tmp_path / "encoder.safetensors", tmp_path / "pretrain.json"
    header = {"kind": "encoder", "encoder": to_tree(ENCODER)}
    write_bundle(encoder, {f"encoder.{name}": value for name, value in Encoder(ENCODER).state_dict().items()}, header)
    config = {"learner": "masked_prediction", "direct_mi": {"views": False}}
    saved = {"provenance": {"config": config}, "passes": [{"audio_hours": 3.0}, {"audio_hours": 2.0}]}
    record.write_text(json.dumps(saved))
    hours = extra_hours(encoder, record)
    assert hours["untrained"] == 5.0
    assert hours["logmel"] * LogMelNetwork().flops(500) == pytest.approx(5.0 * encoder_flops(ENCODER, 500))
    config["learner"] = "swav"
    record.write_text(json.dumps(saved))
    assert extra_hours(encoder, record)["untrained"] == pytest.approx(2 * 0.8 * 5.0)
    record.unlink()
    with pytest.raises(UsageError, match="needs what pretraining took"):
        extra_hours(encoder, record)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"learner": "masked_prediction"}, 1.0),
        ({"learner": "direct_mi"}, 1.0),
        ({"learner": "simclr", "views": {"crop": 0.5}}, 1.0),
        ({"learner": "masked_prediction", "masked_prediction": {"targets": "online"}}, 4 / 3),
        ({"learner": "wav2vec2", "masked_prediction": {"targets": "online"}}, 1.0),
        ({"learner": "cpc", "encoder": {"causal": True, "input_norm": "running"}}, 1.0),
    ],
)
def test_what_a_learner_computes_for_its_audio(tree, expected):
    assert encoder_passes(build_config(PretrainConfig, tree), ENCODER) == pytest.approx(expected)


def test_another_view_may_run_the_front_end_only_and_predictors_may_be_blocks():
    whole, frames = encoder_flops(ENCODER, 500), torch.tensor([500])
    views = build_config(PretrainConfig, {"learner": "direct_mi", "direct_mi": {"views": True}})
    convolutions = 2 * 3 * (ENCODER.mel_bins + ENCODER.channels) * ENCODER.channels * 500  # two a weight and frame
    assert encoder_passes(views, ENCODER) == pytest.approx(0.8 * (1 + convolutions / whole))
    past = {"causal": True, "input_norm": "running"}
    cpc = build_config(PretrainConfig, {"learner": "cpc", "encoder": past, "cpc": {"predictor": "transformer"}})
    block = float(transformer_flops(replace(ENCODER, layers=1), frames))
    assert encoder_passes(cpc, ENCODER) == pytest.approx(1 + 12 * block / whole)


def test_flops_of_the_small_network_are_two_a_weight_and_frame():
    network = LogMelNetwork(bins=2, dim=4, blocks=0)
    # 100 Hz: 2 · 5 · 2 · 4 weights twice a frame; 50 Hz: 4 · 3 · 4.
    assert network.flops(10) == 2 * 10 * (2 * 2 * 5 * 4 + 4 * 3 * 4)
    assert encoder_flops(EncoderConfig(), 500) > network.flops(500)
