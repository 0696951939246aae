"""A tiny untrained encoder, its bundle, and a few recordings."""

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.config import EncoderConfig, QuantizerConfig, UnitsConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.quantizer import ProductQuantizer
from speechunits.units.bundle import write_bundle
from speechunits.units.fit import fit_units


def noise(samples, seed=0):
    """Return noise whose loudness and colour change, so that units differ."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(samples + 64).astype(np.float32)
    smooth = np.convolve(white, np.ones(16, np.float32) / 16, mode="same")
    place = np.arange(samples + 64)
    mixed = np.where((place // 3200) % 2, white, 3 * smooth) * (1 + np.sin(place / 5000))
    return (0.1 * mixed[:samples]).astype(np.float32)


@pytest.fixture(scope="session")
def encoder_bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    torch.manual_seed(0)
    config = EncoderConfig(channels=32, dim=32, layers=2, heads=2, ffn_dim=48, position_kernel=7, position_groups=4)
    encoder = Encoder(config)
    quantizer_config = QuantizerConfig(groups=2, entries=8)
    quantizer = ProductQuantizer(32, 16, quantizer_config)
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    tensors |= {f"quantizer.{name}": tensor for name, tensor in quantizer.state_dict().items()}
    header = {
        "kind": "encoder",
        "encoder": to_tree(config),
        "quantizer": to_tree(quantizer_config),
        "quantizer_dim": 16,
    }
    write_bundle(path, tensors, header)
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Eight recordings of .5 to 4 s and one of 25 s."""
    folder = tmp_path_factory.mktemp("corpus")
    recordings = []
    for index, samples in enumerate([*range(8_000, 72_000, 8_000), 400_000]):
        path = folder / f"take{index}.wav"
        soundfile.write(path, noise(samples, index), 16_000)
        recordings.append(Recording(id=f"take{index}", audio=path, duration_s=samples / 16_000, split="train"))
    return recordings


@pytest.fixture(scope="session")
def units(encoder_bundle, corpus, tmp_path_factory):
    config = UnitsConfig(clusters=12, layer=1, sample_frames=1500, iterations=8)
    return fit_units(encoder_bundle, corpus, config, path=tmp_path_factory.mktemp("units") / "units.safetensors")
