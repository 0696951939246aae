"""Features of encoders in bf16: weights rounded once give what autocast gives by rounding them in every window."""

import pytest
import torch

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.encoder import Encoder
from speechunits.units.features import LayerFeatures, ready

TINY = {
    "channels": 32, "mel_bins": 40, "dim": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "position_kernel": 7,
    "position_groups": 4, "dropout": 0.0,
}  # fmt: skip
VARIANTS = {
    "log-mel": {},
    "waveform": {"frontend": "waveform", "frontend_norm": "group", "pre_norm": False},
    "waveform, layer norms": {"frontend": "waveform"},
    "causal": {"causal": True, "input_norm": "running"},
    "recurrent": {"causal": True, "input_norm": "running", "context": "gru"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_rounded_once_change_no_bit(variant):
    torch.manual_seed(0)
    encoder = Encoder(build_config(EncoderConfig, TINY | VARIANTS[variant])).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    waveforms, lengths = 0.1 * torch.randn(1, 32_080), torch.tensor([30_000])
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = torch.cat([layer.float() for layer in encoder(waveforms, lengths).layers], dim=-1)
    found = LayerFeatures(encoder, [0, 1, 2], "bf16").compute(waveforms, lengths)
    assert torch.equal(found, expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert ready(encoder, "fp32") is encoder
