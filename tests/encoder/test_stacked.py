"""Convolutions as products: what torch's own gives, and its gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F

from speechunits.encoder.convolution import FrameConvolution
from speechunits.encoder.stacked import stacked_convolution, trains_in_bf16


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(10, 5, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 2, 0)])
def test_values_and_gradients_are_those_of_torchs_convolution(kernel, stride, padding, biased):
    generator = torch.Generator().manual_seed(0)
    for size in range(kernel, kernel + 2 * stride + 1):
        # Small whole numbers: bf16 holds every product, and every sum of them, exactly.
        tensors = [
            torch.randint(-2, 3, shape, generator=generator).to(torch.bfloat16).requires_grad_()
            for shape in ((2, size, 4), (6, 4, kernel), (6,))
        ]
        frames, weight, bias = (*tensors[:2], tensors[2] if biased else None)
        given = [tensor for tensor in (frames, weight, bias) if tensor is not None]
        ours = stacked_convolution(frames, weight, bias, stride=stride, padding=padding)
        exact = [tensor.detach().float().requires_grad_() for tensor in given]
        theirs = F.conv1d(exact[0].transpose(1, 2), *exact[1:], stride=stride, padding=padding).transpose(1, 2)
        assert torch.equal(ours.float(), theirs)
        upstream = torch.randint(-1, 2, ours.shape, generator=generator)
        found = torch.autograd.grad(ours, given, upstream.to(ours.dtype))
        for one, other in zip(found, torch.autograd.grad(theirs, exact, upstream.float()), strict=True):
            assert torch.equal(one.float(), other)


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


def test_fp32_and_inference_keep_to_the_other_ways():
    frames = torch.randn(1, 20, 4)
    assert not trains_in_bf16(frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert trains_in_bf16(frames)
        with torch.no_grad():
            assert not trains_in_bf16(frames)
