"""The first convolution of a waveform against the same in plain steps, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from speechunits.encoder.convolution import row_convolution
from speechunits.encoder.opening import over_time


def plain(waveform, weight, norm, stride):
    """Convolution, norm over the row's time, GELU, one after the other."""
    frames = F.conv1d(waveform.double()[None, None], weight.double(), stride=stride)[0].T
    variance, mean = torch.var_mean(frames, dim=0, correction=0)
    scale, shift = (tensor.double() for tensor in norm)
    return F.gelu((frames - mean) * torch.rsqrt(variance + 1e-5) * scale + shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_equals_the_plain_steps_on_each_row_alone(dtype, loudness):
    torch.manual_seed(0)
    weight, norm = torch.randn(6, 1, 10), (torch.rand(6) + 0.5, torch.randn(6))
    waveforms = loudness * torch.randn(4, 6_000) + 0.2
    lengths = torch.tensor([1_199, 700, 0, 1])
    found = over_time(waveforms, lengths, weight, norm, stride=5, epsilon=1e-5, dtype=dtype)
    assert found.shape == (4, 1_199, 6)
    assert found.dtype == dtype
    for row, length in enumerate(lengths.tolist()):
        assert (found[row, length:] == 0).all()
        if length:
            samples = waveforms[row, : 5 * (length - 1) + 10]
            tolerance = 2e-4 if dtype == torch.float32 else 1e-2
            expected = plain(samples, weight, norm, 5).float()
            torch.testing.assert_close(found[row, :length].float(), expected, atol=tolerance, rtol=tolerance)


def test_what_lies_beyond_a_row_is_not_read():
    torch.manual_seed(1)
    weight, norm = torch.randn(4, 1, 10), (torch.ones(4), torch.zeros(4))
    waveforms, lengths = torch.randn(1, 3_000), torch.tensor([300])
    expected = over_time(waveforms, lengths, weight, norm, stride=5, epsilon=1e-5, dtype=torch.float32)
    waveforms[:, 5 * 299 + 10 :] = float("nan")
    found = over_time(waveforms, lengths, weight, norm, stride=5, epsilon=1e-5, dtype=torch.float32)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_row_convolution_is_a_convolution_and_row_by_row(groups):
    torch.manual_seed(2)
    frames, weight, bias = torch.randn(3, 40, 6).transpose(1, 2), torch.randn(9, 6 // groups, 4), torch.randn(9)
    found = row_convolution(frames, weight, bias, stride=2, padding=2, groups=groups)
    expected = F.conv1d(frames, weight, bias, stride=2, padding=2, groups=groups)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.transpose(1, 2).is_contiguous()
    for row in range(3):
        alone = row_convolution(frames[row : row + 1], weight, bias, stride=2, padding=2, groups=groups)
        assert torch.equal(alone[0], found[row])
