"""Features of encoders in bf16: weights rounded once give what autocast gives by rounding them in every window."""

import pytest
import torch

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.encoder import LATENTS, Encoder
from speechunits.errors import UsageError
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels", [32, 48])
def test_the_latents_are_a_layer_alone_and_beside_others(channels, precision):
    torch.manual_seed(0)
    encoder = Encoder(build_config(EncoderConfig, TINY | {"channels": channels})).eval()
    waveforms, lengths = 0.1 * torch.randn(1, 32_080), torch.tensor([30_000])
    alone = LayerFeatures(encoder, [LATENTS], precision)
    beside = LayerFeatures(encoder, [LATENTS, 2, 0], precision)
    assert (alone.dim, beside.widths, beside.dim) == (channels, (channels, 32, 32), channels + 64)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = encoder(waveforms, lengths)
    expected = torch.cat([part.float() for part in (output.latents, output.layers[2], output.layers[0])], dim=-1)
    assert torch.equal(beside.compute(waveforms, lengths), expected)
    alone.encoder.context.forward = None  # It is not needed.
    assert torch.equal(alone.compute(waveforms, lengths), output.latents.float())
    with pytest.raises(UsageError, match=r"within -1 .*, 0 .* and 2 .*, but is -2"):
        LayerFeatures(encoder, [-2])


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
