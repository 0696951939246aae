import numpy as np
import pytest
import torch

from speechunits.errors import UsageError
from speechunits.evaluation.sources import columns, open_sources
from speechunits.frames import frame_count
from speechunits.units.extract import FeatureExtractor


def features(source, samples=16_000):
    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32) / 10
    return FeatureExtractor(source.features).features(noise)


def test_layers_stand_side_by_side_and_untrained_weights_depend_on_the_seed(tiny_runs):
    path = str(tiny_runs / "tiny" / "pretrain" / "encoder.safetensors")
    encoder, untrained = open_sources({"one": path}, untrained=True)
    assert encoder.labels == untrained.labels == ("0", "1", "2")
    assert len(encoder.sha256) == 64
    every = features(encoder)
    (last,) = open_sources({"one": path}, layers=[2])
    np.testing.assert_array_equal(features(last), every[:, columns(encoder)[2][1]])
    before = torch.random.get_rng_state()
    again, other = (open_sources({"one": path}, untrained=True, seed=seed)[1] for seed in (0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(features(again), features(untrained))
    assert np.abs(features(other) - features(untrained)).max() > 0.01


def test_the_latents_are_a_layer_that_must_be_asked_for(tiny_runs):
    path = str(tiny_runs / "tiny" / "pretrain" / "encoder.safetensors")
    (source,) = open_sources({"one": path}, layers=[-1, 1])
    assert source.labels == ("-1", "1")
    (label, part), (_, other) = columns(source)
    (alone,) = open_sources({"one": path}, layers=[-1])
    assert (label, part.stop) == ("-1", other.start)
    np.testing.assert_array_equal(features(alone), features(source)[:, part])


def test_a_units_bundle_gives_its_own_layer_and_mfcc_units_have_none(tiny_runs):
    (source,) = open_sources({"one": str(tiny_runs / "tiny" / "units.safetensors")})
    assert source.labels == ("1",)
    with pytest.raises(UsageError, match="give `mfcc`"):
        open_sources({"one": str(tiny_runs / "tiny" / "mfcc.safetensors")})


def test_plain_features_keep_the_frame_grid():
    for source in open_sources({"a": "mfcc", "b": "logmel"}):
        for samples in (0, 399, 400, 719, 720, 5000):
            assert features(source, samples).shape == (frame_count(samples), source.features.dim)
