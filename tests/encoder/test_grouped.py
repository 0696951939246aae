"""The grouped convolution against torch's own, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from speechunits.encoder.grouped import grouped_convolution


def problem(size, taps, *, dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 12, size), (12, 3, taps), (12,))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("size", "taps", "padding"), [(40, 31, 15), (7, 5, 2), (1, 3, 1), (16, 4, 2), (20, 5, 0)])
def test_equals_torch(size, taps, padding):
    inputs = problem(size, taps, dtype=torch.float64)
    expected = F.conv1d(*inputs, padding=padding, groups=4)
    found = grouped_convolution(*inputs, groups=4, padding=padding)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = zip(*(torch.autograd.grad(value, inputs, gradient) for value in (found, expected)), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs)


def test_under_autocast_gradients_are_those_of_fp32_but_for_rounding():
    inputs = problem(40, 31, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = grouped_convolution(*inputs, groups=4, padding=15)
    assert found.dtype == torch.bfloat16
    gradients = torch.autograd.grad(found.float().sum(), inputs)
    expected = torch.autograd.grad(F.conv1d(*inputs, padding=15, groups=4).sum(), inputs)
    for mine, theirs in zip(gradients, expected, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - theirs).norm() / theirs.norm()) < 0.01
