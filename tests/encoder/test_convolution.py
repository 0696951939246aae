"""Convolutions with channels last: what torch's own gives, and its gradients, in training and at inference."""

import copy

import pytest
import torch
import torch.nn.functional as F

from speechunits.encoder import convolution as module
from speechunits.encoder.convolution import FrameConvolution, flat_convolution

SHAPES = [(10, 5, 0, 1), (3, 2, 1, 1), (3, 2, 0, 1), (3, 1, 1, 1), (2, 2, 0, 1), (5, 1, 2, 4), (4, 2, 1, 2)]
"""Kernel, stride, padding, groups."""


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_torchs_convolution(kernel, stride, padding, groups, biased, dtype):
    generator = torch.Generator().manual_seed(0)
    for size in range(kernel, kernel + 2 * stride + 1):
        # Small whole numbers: bf16 holds every product, and every sum of them, exactly.
        tensors = [
            torch.randint(-2, 3, shape, generator=generator).to(dtype).requires_grad_()
            for shape in ((2, size, 4), (8, 4 // groups, kernel), (8,))
        ]
        frames, weight, bias = (*tensors[:2], tensors[2] if biased else None)
        given = [tensor for tensor in (frames, weight, bias) if tensor is not None]
        options = {"stride": stride, "padding": padding, "groups": groups}
        ours = flat_convolution(frames.transpose(1, 2), weight, bias, **options)
        assert ours.transpose(1, 2).is_contiguous()
        exact = [tensor.detach().float().requires_grad_() for tensor in given]
        theirs = F.conv1d(exact[0].transpose(1, 2), *exact[1:], **options)
        assert torch.equal(ours.float(), theirs)
        upstream = torch.randint(-1, 2, ours.shape, generator=generator)
        found = torch.autograd.grad(ours, given, upstream.to(ours.dtype))
        for one, other in zip(found, torch.autograd.grad(theirs, exact, upstream.float()), strict=True):
            assert torch.equal(one.float(), other)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), SHAPES)
def test_training_and_inference_agree(kernel, stride, padding, groups, large, monkeypatch):
    if large:
        monkeypatch.setattr(module, "_LARGE", 0)
    torch.manual_seed(0)
    convolution = FrameConvolution(4, 8, kernel, stride=stride, padding=padding, groups=groups)
    for size in range(kernel, kernel + 8):
        frames = torch.randn(2, size, 4)
        expected = convolution(frames)
        with torch.no_grad():
            found = convolution(frames)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            for row in range(2) if large or groups > 1 else ():  # the product of one frame alone rounds otherwise
                assert torch.equal(convolution(frames[row : row + 1])[0], found[row])


def test_waveforms_want_no_gradient_and_get_none():
    convolution = FrameConvolution(1, 8, 10, stride=5)
    with torch.autocast("cpu", torch.bfloat16):
        convolved = convolution(torch.randn(2, 200, 1))
    assert convolved.dtype == torch.bfloat16
    convolved.float().sum().backward()
    assert convolution.weight.grad.dtype == torch.float32
    assert convolution.weight.grad.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_training_in_bf16_stays_near_fp32(causal):
    torch.manual_seed(0)
    exact = FrameConvolution(16, 24, 3, padding=1, causal=causal)
    rounded = copy.deepcopy(exact)
    frames = torch.randn(2, 50, 16)
    wanted = exact(frames)
    with torch.autocast("cpu", torch.bfloat16):
        found = rounded(frames)
    wanted.square().mean().backward()
    found.float().square().mean().backward()
    assert float((found - wanted).detach().norm() / wanted.detach().norm()) < 1e-2
    assert float((rounded.weight.grad - exact.weight.grad).norm() / exact.weight.grad.norm()) < 1e-2
