"""Encoders of other libraries give here, layer by layer, what they give there, each recording alone."""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechunits.encoder.foreign import is_foreign, read_foreign
from speechunits.errors import InputRefused, UsageError
from speechunits.frames import PADDED_LENGTHS
from tests.reference.positions import gated_bias

transformers = pytest.importorskip("transformers")

SIZE = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40,
    "conv_dim": (24,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
LAYERED = {"feat_extract_norm": "layer", "conv_bias": True}
MODELS = {
    "wav2vec2-base": ("Wav2Vec2", {}),
    "xls-r": ("Wav2Vec2", {**LAYERED, "do_stable_layer_norm": True}),
    "wav2vec2-biased-groups": ("Wav2Vec2", {"conv_bias": True}),
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", {**LAYERED, "do_stable_layer_norm": True}),
    "distilled-hubert": ("Hubert", {"feat_proj_layer_norm": False}),
    "odd-positions": ("Hubert", {"num_conv_pos_embeddings": 15}),
    "wavlm-base": ("WavLM", {}),
    "wavlm-large": ("WavLM", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm-few-buckets": ("WavLM", {"num_buckets": 32, "max_bucket_distance": 40}),
}


def randomise(module, seed=0):
    """Give every parameter a value of its own: fresh norms and biases would hide a wrong name."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            one = "norm" in name and name.endswith("weight")
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 4
            parameter.copy_(1 + 0.2 * noise if one else noise / fan_in**0.5)
    return module.eval()


def write_model(folder, name, **changes):
    kind, settings = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**{**SIZE, **settings, **changes})
    model = randomise(getattr(transformers, f"{kind}Model")(config))
    with contextlib.suppress(AttributeError):
        # Written only where the model masks; ours always has it.
        model.masked_spec_embed.data.fill_(0.5)
    model.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=settings.get("feat_extract_norm") == "layer")
    extractor.save_pretrained(folder)
    return model, extractor


def speechlike(samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.05 * rng.standard_normal(samples) * (1 + np.sin(np.arange(samples) / 900)) + 0.01).astype(np.float32)


def run_ours(encoder, waveform):
    """Encode a recording as units do: in a longer, padded window."""
    padded = torch.full((1, PADDED_LENGTHS[1]), 0.3)
    padded[0, : len(waveform)] = torch.from_numpy(waveform)
    count = (len(waveform) - 400) // 320 + 1
    with torch.inference_mode():
        output = encoder(padded, torch.tensor([len(waveform)]))
    return [layer[0, :count] for layer in output.layers], output.output[0, :count], output.latents[0, :count]


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_equals_hugging_face(name, tmp_path):
    model, extractor = write_model(tmp_path, name)
    encoder = read_foreign(tmp_path).encoder
    seen = {}
    # Some return the projection alone, some beside what it was made from.
    model.feature_projection.register_forward_hook(
        lambda module, inputs, output: seen.update(projected=output[0] if isinstance(output, tuple) else output)
    )
    for index, block in enumerate(model.encoder.layers):
        block.register_forward_hook(lambda module, inputs, output, index=index: seen.update({index: output[0]}))
    for samples in (400, 5_000, 16_123, 31_999):
        waveform = speechlike(samples, samples)
        values = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            theirs = model(values, output_hidden_states=True)
        layers, output, _ = run_ours(encoder, waveform)
        close(layers[0], seen["projected"].reshape(layers[0].shape))
        for index in range(SIZE["num_hidden_layers"]):
            close(layers[index + 1], seen[index].reshape(layers[0].shape))
        for ours, hidden in zip(layers[1:-1], theirs.hidden_states[1:-1], strict=True):
            close(ours, hidden[0])
        close(output, theirs.last_hidden_state[0])


def test_a_model_with_a_head_or_in_half_precision_or_in_shards(tmp_path):
    write_model(tmp_path, "wav2vec2-base")
    encoder = read_foreign(tmp_path).encoder
    whole = load_file(tmp_path / "model.safetensors")
    headed = {f"wav2vec2.{name}": tensor for name, tensor in whole.items()} | {"lm_head.weight": torch.zeros(3, 32)}
    save_file(headed, tmp_path / "model.safetensors")
    again = read_foreign(tmp_path).encoder
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), again.state_dict().values(), strict=True)
    )
    (tmp_path / "model.safetensors").unlink()
    names = sorted(whole)
    shards = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: whole[name].half() for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    halved = read_foreign(tmp_path).encoder
    assert halved.norm.weight.dtype == torch.float32
    close(halved.norm.weight, encoder.norm.weight.half().float())


def test_pickles_are_read_only_where_allowed_and_never_run(tmp_path):
    model, _ = write_model(tmp_path, "hubert-base")
    expected = read_foreign(tmp_path).encoder.state_dict()
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputRefused, match="--allow-pickle"):
        read_foreign(tmp_path)
    found = read_foreign(tmp_path, allow_pickle=True).encoder.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    torch.save({"model": tmp_path}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputRefused, match="tensors alone"):
        read_foreign(tmp_path, allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "bert"}, "model_type must be one of wav2vec2, hubert, wavlm, but is 'bert'"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "conv_stride must be"),
        ({"hidden_act": "relu"}, "hidden_act must be gelu, but is relu"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim must be None"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm must be False"),
        ({"num_hidden_layers": 2}, "another architecture"),
        ({"num_hidden_layers": 4}, "another architecture"),
        ({"hidden_size": None}, "dim: must be a whole number"),
        ({"hidden_dropout": None}, "config.json holds a value of another type than there should be"),
        ({"conv_dim": 512}, "config.json holds a value of another type than there should be"),
    ],
)
def test_what_ours_cannot_be_is_refused_with_the_reason(tmp_path, change, said):
    write_model(tmp_path, "hubert-base")
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
    with pytest.raises((InputRefused, UsageError), match=said):
        read_foreign(tmp_path)


def test_reading_leaves_the_callers_draws(tmp_path):
    write_model(tmp_path, "hubert-base")
    before = torch.random.get_rng_state()
    read_foreign(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_damaged_folders_are_refused(tmp_path):
    write_model(tmp_path, "hubert-base")
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-100])
    with pytest.raises(InputRefused, match="cannot be read"):
        read_foreign(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputRefused, match=r"neither model\.safetensors nor"):
        read_foreign(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputRefused, match="JSON object"):
        read_foreign(tmp_path)


def test_a_hub_name_is_found_in_the_local_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--owner--tiny"
    write_model(repository / "snapshots" / revision, "wavlm-base")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert is_foreign(Path("owner/tiny"))
    made = read_foreign(Path("owner/tiny"))
    assert made.origin == {"source": "owner/tiny", "library": "transformers", "model": "wavlm", "assumed": []}
    with pytest.raises(InputRefused, match=r"^there is no folder owner/other here; check the path\. Nor can"):
        read_foreign(Path("owner/other"))
    with pytest.raises(InputRefused, match="no name on the hub"):
        read_foreign(Path("a/b/c"))


def test_without_the_hub_package_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"^there is no folder owner/tiny here.*pip install huggingface_hub"):
        read_foreign(Path("owner/tiny"))


@pytest.mark.parametrize(("buckets", "distance"), [(320, 800), (32, 40)])
def test_the_gated_bias_is_the_papers(buckets, distance):
    from speechunits.config import EncoderConfig
    from speechunits.encoder.relative import RelativeGate, RelativePositions

    config = EncoderConfig(dim=16, heads=2, relative_buckets=buckets, relative_distance=distance)
    positions, gate = randomise(RelativePositions(config)), randomise(RelativeGate(16, 2), 1)
    frames = torch.randn(1, 60, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = gate(frames) * positions(60)
    expected = gated_bias(
        frames[0].numpy(), positions.embedding.weight.detach().numpy(), gate.projection.weight.detach().numpy(),
        gate.projection.bias.detach().numpy(), gate.scale.detach().numpy(), distance,
    )  # fmt: skip
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)
