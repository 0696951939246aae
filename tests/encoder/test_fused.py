"""Products with their GELU in one go, in bf16 without gradients, against the same in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechunits.encoder.context import attend
from speechunits.encoder.fused import convolution_gelu, linear_gelu

ROUNDING = 2**-8
"""Of bf16, relative to the largest value."""


def assert_rounded(found, exact):
    assert found.dtype == torch.bfloat16
    assert float((found.double() - exact).abs().max()) < 2 * ROUNDING * float(exact.abs().max())


@pytest.fixture
def frames():
    return torch.randn(3, 41, 16, generator=torch.Generator().manual_seed(0)).bfloat16()


@torch.inference_mode()
def test_a_linear_layer(frames):
    torch.manual_seed(0)
    linear = nn.Linear(16, 24).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_gelu(frames, linear)
        alone = linear_gelu(frames[1:2], linear)
    assert_rounded(found, F.gelu(F.linear(frames.double(), linear.weight.double(), linear.bias.double())))
    assert torch.equal(found[1:2], alone)


@pytest.mark.parametrize(("taps", "stride", "padding", "groups"), [(3, 2, 0, 1), (15, 1, 7, 4), (1, 1, 0, 1)])
@torch.inference_mode()
def test_a_convolution(frames, taps, stride, padding, groups):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(32, 16 // groups, taps, generator=generator).bfloat16()
    bias = torch.randn(32, generator=generator).bfloat16()
    options = {"stride": stride, "padding": padding, "groups": groups}
    rows = frames.transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = convolution_gelu(rows, weight, bias, **options)
        alone = convolution_gelu(rows[1:2], weight, bias, **options)
    assert_rounded(found, F.gelu(F.conv1d(rows.double(), weight.double(), bias.double(), **options)))
    assert torch.equal(found[1:2], alone)


@torch.inference_mode()
def test_attention_over_the_real_frames_of_each_row():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, 20, 8, generator=generator).bfloat16() for _ in range(3))
    keys = (torch.arange(20) < torch.tensor([20, 7, 1])[:, None])[:, None, None]
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double(), attn_mask=keys)
    garbage = key.masked_fill(~keys.transpose(2, 3), 1e9)
    assert_rounded(attend(query, garbage, value, keys, None), exact)
