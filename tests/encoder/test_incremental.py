"""A causal encoder that hears a recording in pieces gives what it gives for the whole."""

import numpy as np
import pytest
import torch

from speechunits.encoder.incremental import IncrementalEncoder
from speechunits.errors import UsageError
from speechunits.frames import frame_count
from tests.encoder.test_causal import VARIANTS, build, noise

MORE = VARIANTS | {
    "relative": {"input_norm": "running", "relative_buckets": 8, "relative_distance": 20},
    "no-latent-norm": {"input_norm": "none", "latent_norm": False},
}


def pieces(samples, seed):
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.integers(0, len(samples) + 1, 12))
    return [torch.from_numpy(part) for part in np.split(samples.numpy(), edges)]


@pytest.mark.parametrize("fields", MORE.values(), ids=MORE.keys())
@pytest.mark.parametrize("samples", [0, 399, 400, 719, 720, 12_345])
def test_pieces_give_what_the_whole_gives(fields, samples):
    encoder, waveform = build(**fields), noise(1, samples)
    with torch.inference_mode():
        whole = encoder(waveform, torch.tensor([samples]))
    for seed in range(3):
        incremental = IncrementalEncoder(encoder, encoder.num_layers)
        found, heard = [], 0
        for piece in pieces(waveform[0], seed):
            found.append(incremental.extend(piece))
            heard += len(piece)
            assert sum(part.latents.shape[1] for part in found) == frame_count(heard)
        torch.testing.assert_close(torch.cat([part.latents for part in found], 1), whole.latents, atol=1e-5, rtol=1e-4)
        for index, layer in enumerate(whole.layers):
            joined = torch.cat([part.layers[index] for part in found], 1)
            torch.testing.assert_close(joined, layer, atol=1e-5, rtol=1e-4)


def test_blocks_beyond_the_depth_are_not_run():
    encoder = build(**VARIANTS["running"])
    assert len(IncrementalEncoder(encoder, 1).extend(noise(4_000)).layers) == 2
    assert IncrementalEncoder(encoder, None).extend(noise(4_000)).layers == ()


def test_an_encoder_that_looks_ahead_is_refused():
    with pytest.raises(UsageError, match="must be causal"):
        IncrementalEncoder(build(causal=False), 1)
