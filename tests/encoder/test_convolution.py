import pytest
import torch

from speechunits.encoder.convolution import FrameConvolution


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(10, 5, 0), (3, 2, 1), (3, 1, 1), (2, 2, 0)])
def test_both_ways_agree(kernel, stride, padding):
    torch.manual_seed(0)
    convolution = FrameConvolution(4, 6, kernel, stride=stride, padding=padding)
    for size in range(kernel, kernel + 8):
        frames = torch.randn(2, size, 4)
        expected = convolution(frames)
        with torch.no_grad():
            torch.testing.assert_close(convolution(frames), expected, atol=1e-5, rtol=1e-5)
