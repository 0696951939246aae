"""Counted FLOPs against what torch counts while an encoder runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speechunits.config import EncoderConfig, PretrainConfig
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.flops import BACKWARD, block_weights, surrounding_flops, transformer_flops
from speechunits.frames import HOP, RECEPTIVE_FIELD
from speechunits.learners.build import build_learner


def small_config(**fields):
    sizes = {"channels": 16, "mel_bins": 8, "dim": 24, "layers": 2, "heads": 3, "ffn_dim": 40, "position_groups": 4}
    return EncoderConfig(**{**sizes, "position_kernel": 5, "dropout": 0.0, **fields})


def counted(run):
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(("rows", "frames"), [(1, 7), (3, 25)])
def test_the_blocks_forward_and_backward(rows, frames):
    config = small_config()
    blocks = Encoder(config).context.blocks
    keys = torch.ones(rows, 1, 1, frames, dtype=torch.bool)
    values = torch.randn(rows, frames, config.dim, requires_grad=True)
    outputs = []

    def forward():
        hidden = values
        for block in blocks:
            hidden = block(hidden, keys)
        outputs.append(hidden)

    expected = float(transformer_flops(config, torch.full((rows,), frames)))
    assert counted(forward) == expected
    assert counted(lambda: outputs[0].sum().backward()) == BACKWARD * expected


@pytest.mark.parametrize("context", [{}, {"context": "gru", "causal": True, "input_norm": "running"}])
def test_weights_are_those_of_the_blocks_matrices(context):
    config = small_config(**context)
    matrices = [p for p in Encoder(config).context.blocks.parameters() if p.ndim == 2]
    assert block_weights(config) == sum(p.numel() for p in matrices)


@pytest.mark.parametrize("frontend", ["logmel", "waveform"])
@pytest.mark.parametrize("kernel", [4, 5])
def test_a_whole_encoder(frontend, kernel):
    config = small_config(frontend=frontend, position_kernel=kernel)
    encoder, frames = Encoder(config), 21
    samples = HOP * (frames - 1) + RECEPTIVE_FIELD
    waveforms = torch.randn(1, samples)
    total = counted(lambda: encoder(waveforms, torch.tensor([samples])))
    # The mel filters are a constant matrix over 10 ms frames.
    mel = 2 * (2 * frames - 1) * 257 * config.mel_bins if frontend == "logmel" else 0
    blocks = float(transformer_flops(config, torch.tensor([frames])))
    assert total - mel == blocks + surrounding_flops(config, frames)


def test_padding_is_no_work_and_learners_count_their_encoders():
    learner = build_learner(PretrainConfig(encoder=small_config()))
    lengths = torch.tensor([16_000, 8_000])
    alone = sum(float(learner.training_flops(lengths[row : row + 1])) for row in range(2))
    assert float(learner.training_flops(lengths)) == alone
    frames = torch.tensor([49, 24])
    assert alone == 3 * float(transformer_flops(learner.encoder.config, frames))
