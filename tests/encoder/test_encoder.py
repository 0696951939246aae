import pytest
import torch

from speechunits.config import EncoderConfig, build_config, to_tree
from speechunits.encoder.encoder import Encoder, encoder_from_export
from speechunits.encoder.frontend import TimeNorm
from speechunits.errors import InputRefused
from speechunits.frames import PADDED_LENGTHS, frame_count, frame_counts

TINY = {"channels": 32, "dim": 32, "heads": 2, "layers": 2, "ffn_dim": 48, "position_groups": 2}
VARIANTS = {
    "logmel": {},
    "logmel-raw-post": {"input_norm": "none", "pre_norm": False},
    "waveform-layer": {"frontend": "waveform"},
    "waveform-group-even": {
        "frontend": "waveform",
        "frontend_norm": "group",
        "pre_norm": False,
        "position_kernel": 16,
    },
}


def config(**fields) -> EncoderConfig:
    return build_config(EncoderConfig, TINY | fields)


def build(**fields) -> Encoder:
    torch.manual_seed(0)
    return Encoder(config(**fields)).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def encoder(request):
    return build(**request.param)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 719, 720, 1039, 1040, 5000, 5200])
@torch.no_grad()
def test_shapes_and_exact_lengths(encoder, samples):
    lengths = torch.tensor([samples, samples // 2, 0])
    result = encoder(noise(3, samples), lengths)
    size = frame_count(samples)
    assert result.frame_lengths.tolist() == frame_counts(lengths).tolist()
    assert len(result.layers) == encoder.num_layers + 1 == 3
    for frames in (result.latents, result.output, *result.layers):
        assert frames.shape == (3, size, 32)
        assert frames.dtype == torch.float32
        assert frames.isfinite().all()
        for row, length in zip(frames, result.frame_lengths, strict=True):
            assert (row[length:] == 0).all()
            assert (row[:length].abs().sum(dim=-1) > 0).all()
    assert result.penalty.shape == (3, size)


@torch.no_grad()
def test_neither_padding_nor_what_it_holds_changes_anything(encoder):
    waveform = noise(1, 8000)
    lengths = torch.tensor([7777])
    alone = encoder(waveform[:, :7777], lengths)
    for beyond in (0.0, 1e3, float("nan"), float("inf")):
        padded = torch.full((2, 11000), beyond)
        padded[0, :7777] = waveform[0, :7777]
        padded[1] = noise(11000, seed=1)
        together = encoder(padded, torch.tensor([7777, 11000]))
        size = int(alone.frame_lengths[0])
        for mine, theirs in zip(
            (alone.latents, *alone.layers, alone.output),
            (together.latents, *together.layers, together.output),
            strict=True,
        ):
            torch.testing.assert_close(theirs[0, :size], mine[0], atol=1e-5, rtol=1e-5)
            assert (theirs[0, size:] == 0).all()
        torch.testing.assert_close(together.penalty[0, :size], alone.penalty[0])


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("size", ["nano", "waveform"])
@torch.no_grad()
def test_a_window_is_the_same_bit_for_bit_in_any_batch(size, bf16):
    encoder = build(frontend="waveform") if size == "waveform" else Encoder(EncoderConfig(layers=2)).eval()
    padded = PADDED_LENGTHS[1]
    waveforms = noise(8, padded)
    lengths = torch.tensor([padded, 31000, 400, 0, 20000, 17333, 32000, 9999])
    for row, length in enumerate(lengths):
        waveforms[row, length:] = 0
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        alone = [encoder(waveforms[row : row + 1], lengths[row : row + 1]) for row in range(8)]
        for batch in range(2, 9):
            together = encoder(waveforms[:batch], lengths[:batch])
            for row in range(batch):
                assert torch.equal(together.output[row], alone[row].output[0]), (batch, row)
                assert torch.equal(together.latents[row], alone[row].latents[0]), (batch, row)


@torch.no_grad()
def test_mask_and_channel_mask():
    encoder = build()
    waveforms, lengths = noise(2, 6400), torch.tensor([6400, 5000])
    size = frame_count(6400)
    mask = torch.zeros(2, size, dtype=torch.bool)
    mask[:, 3:8] = True
    plain, masked = encoder(waveforms, lengths), encoder(waveforms, lengths, mask=mask)
    assert torch.equal(plain.latents, masked.latents)
    assert torch.equal(masked.layers[0][mask], encoder.context.mask_embedding.expand(10, -1))
    assert torch.equal(masked.layers[0][:, 8:], plain.layers[0][:, 8:])
    assert not torch.allclose(masked.output[:, 8:12], plain.output[:, 8:12])
    # Everything is masked: nothing of the audio is left.
    full = torch.ones(2, size, dtype=torch.bool)
    first, second = (encoder(noise(2, 6400, seed=seed), lengths, mask=full) for seed in (1, 2))
    assert torch.equal(first.output, second.output)
    channels = torch.zeros(2, 32, dtype=torch.bool)
    assert torch.equal(encoder(waveforms, lengths, channel_mask=channels).output, plain.output)
    channels[0, :8] = True
    dropped = encoder(waveforms, lengths, channel_mask=channels)
    assert torch.equal(dropped.latents, plain.latents)
    assert not torch.allclose(dropped.output[0, :5], plain.output[0, :5])
    torch.testing.assert_close(dropped.output[1], plain.output[1])


@pytest.mark.parametrize("samples", [300, 3000])
@pytest.mark.parametrize("masked", [False, True])
def test_every_parameter_gets_a_gradient(encoder, samples, masked):
    encoder.train()
    mask = torch.ones(2, frame_count(samples), dtype=torch.bool) if masked else None
    result = encoder(noise(2, samples), torch.tensor([samples, 0]), mask=mask)
    (result.output.square().sum() + result.latents.square().sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_training_and_evaluation_attend_alike():
    encoder = build(dropout=0.0)
    waveforms, lengths = noise(2, 6400), torch.tensor([6400, 4000])
    with torch.no_grad():
        expected = encoder(waveforms, lengths).output
    torch.testing.assert_close(encoder(waveforms, lengths).output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [("nano", 1.5, 2.0), ("small", 4.5, 5.5), ("medium", 14, 16), ("large", 20, 30), ("base", 92, 97)],
)
def test_sizes(size, least, most):
    with torch.device("meta"):
        parameters = sum(
            parameter.numel() for parameter in Encoder(build_config(EncoderConfig, {"size": size})).parameters()
        )
    assert least * 1e6 <= parameters <= most * 1e6


def test_export_round_trip_is_strict(encoder):
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()} | {"heads.x": torch.zeros(1)}
    header = {"encoder": to_tree(encoder.config)}
    restored = encoder_from_export(tensors, header)
    waveforms, lengths = noise(1, 4000), torch.tensor([4000])
    with torch.no_grad():
        assert torch.equal(restored(waveforms, lengths).output, encoder(waveforms, lengths).output)
    assert not restored.training
    with pytest.raises(InputRefused, match="Missing"):
        encoder_from_export({name: tensors[name] for name in list(tensors)[1:]}, header)
    with pytest.raises(InputRefused, match="Unexpected"):
        encoder_from_export(tensors | {"encoder.more": torch.zeros(1)}, header)


def test_the_norm_over_time_is_the_same_with_and_without_gradients():
    norm = TimeNorm(5)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    frames, lengths = 3 + torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([40, 17, 0])
    frames[1, 17:] = torch.nan
    with_gradients = norm(frames, lengths)
    with torch.no_grad():
        without = norm(frames, lengths)
        alone = norm(frames[1:2, :17], lengths[1:2])
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(without[row, :length], with_gradients[row, :length], atol=1e-5, rtol=1e-5)
    assert torch.equal(alone[0], without[1, :17])
    assert without.isfinite().all()
