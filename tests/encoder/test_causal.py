"""A causal encoder: what comes after a frame's own 400 samples changes nothing of it."""

import pytest
import torch

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.frontend import normalize_running
from speechunits.errors import UsageError

TINY = {
    "channels": 32, "dim": 32, "heads": 2, "layers": 2, "ffn_dim": 48, "position_groups": 2, "position_kernel": 8,
    "causal": True,
}  # fmt: skip
VARIANTS = {
    "running": {"input_norm": "running"},
    "none-post": {"input_norm": "none", "pre_norm": False},
    "waveform": {"frontend": "waveform", "input_norm": "none"},
    "gru": {"input_norm": "running", "context": "gru"},
}


def build(**fields):
    torch.manual_seed(0)
    return Encoder(build_config(EncoderConfig, TINY | fields)).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("grad", [False, True])
def test_the_future_leaves_the_past_as_it_was(fields, grad):
    encoder, waveforms, lengths = build(**fields), noise(2, 8000), torch.tensor([8000, 6000])
    frame = 9
    changed = waveforms.clone()
    changed[:, 320 * frame + 400 :] = noise(2, 8000, seed=1)[:, 320 * frame + 400 :]
    with torch.set_grad_enabled(grad):
        before, after = encoder(waveforms, lengths), encoder(changed, lengths)
    for one, other in zip(
        (before.latents, *before.layers, before.output), (after.latents, *after.layers, after.output), strict=True
    ):
        torch.testing.assert_close(one[:, : frame + 1], other[:, : frame + 1], atol=1e-6, rtol=1e-5)
        assert (one[:, frame + 1] - other[:, frame + 1]).abs().max() > 1e-4


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_padding_changes_nothing(fields):
    encoder, waveforms = build(**fields), noise(1, 5000)
    padded = torch.nn.functional.pad(waveforms, (0, 3000), value=float("nan"))
    alone, longer = encoder(waveforms, torch.tensor([5000])), encoder(padded, torch.tensor([5000]))
    size = alone.output.shape[1]
    torch.testing.assert_close(longer.output[:, :size], alone.output, atol=1e-6, rtol=1e-5)
    assert not longer.output[:, size:].any()


def test_a_causal_encoder_has_the_weights_of_any_other():
    causal, plain = build(input_norm="running"), build(causal=False)
    assert {name: value.shape for name, value in causal.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }


def test_running_norm_is_that_of_each_prefix():
    frames = noise(2, 9, 3).double() + 5
    result = normalize_running(frames, torch.tensor([9, 4]))
    for end in range(1, 10):
        prefix = frames[0, :end]
        deviation = (prefix.var(dim=0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(result[0, end - 1], (prefix[-1] - prefix.mean(dim=0)) / deviation)
    assert not result[1, 4:].any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input_norm": "window"}, "input_norm must be running"),
        ({"frontend": "waveform", "input_norm": "none", "frontend_norm": "group"}, "frontend_norm must be layer"),
        ({"frontend": "waveform", "input_norm": "running"}, "input_norm must be none or window"),
    ],
)
def test_statistics_of_the_future_are_refused(fields, words):
    with pytest.raises(UsageError, match=words):
        build(**fields)
