import json

import pytest

from speechunits.asr.baseline import LogMelNetwork
from speechunits.compute import extra_hours
from speechunits.config import EncoderConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import encoder_flops
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
    assert extra_hours(encoder, record)["untrained"] == 10.0
    record.unlink()
    with pytest.raises(UsageError, match="needs what pretraining took"):
        extra_hours(encoder, record)


def test_flops_of_the_small_network_are_two_a_weight_and_frame():
    network = LogMelNetwork(bins=2, dim=4, blocks=0)
    # 100 Hz: 2 · 5 · 2 · 4 weights twice a frame; 50 Hz: 4 · 3 · 4.
    assert network.flops(10) == 2 * 10 * (2 * 2 * 5 * 4 + 4 * 3 * 4)
    assert encoder_flops(EncoderConfig(), 500) > network.flops(500)
