"""Checkpoints of fairseq2 give here, layer by layer, what they give there, each recording alone."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from speechunits.encoder.foreign import is_foreign, read_foreign
from speechunits.engine.native import prepare_fairseq2
from speechunits.errors import InputRefused

KERNELS = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
VARIANTS = {
    "base": {"feature_dim": 24},
    "large": {"feature_dim": 24, "bias": True, "layered": True},
    "no-projection": {"feature_dim": 32},
}


def make_model(feature_dim, *, bias=False, layered=False, features_norm=None):
    prepare_fairseq2()
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2.config import Wav2Vec2Config, Wav2Vec2EncoderConfig
    from fairseq2.models.wav2vec2.factory import create_wav2vec2_model

    settings = Wav2Vec2EncoderConfig(
        model_dim=32, feature_dim=feature_dim, num_encoder_layers=3, num_encoder_attn_heads=4, ffn_inner_dim=40,
        feature_extractor_layer_descs=[(feature_dim, kernel, stride) for kernel, stride in KERNELS],
        feature_extractor_bias=bias, layer_norm_features=not layered if features_norm is None else features_norm,
        feature_extractor_layer_norm_convs=layered, pos_conv_kernel_size=16,
        num_pos_conv_groups=4, norm_order=TransformerNormOrder.PRE if layered else TransformerNormOrder.POST,
    )  # fmt: skip
    config = Wav2Vec2Config(encoder_config=settings, final_dim=8, quantized_dim=8, num_codebook_entries=4)
    model = create_wav2vec2_model(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 4
            parameter.copy_(1 + 0.2 * noise if "norm.weight" in name else noise / fan_in**0.5)
    return model.eval(), settings


def write(folder, model, settings):
    place = folder / "step_20" / "model" / "pp_00" / "tp_00" / "sdp_00.pt"
    place.parent.mkdir(parents=True)
    (folder / "step_3" / "model").mkdir(parents=True)
    torch.save(model.state_dict(), place)
    tree = {**dataclasses.asdict(settings), "norm_order": settings.norm_order.name}
    tree["feature_extractor_layer_descs"] = [list(item) for item in tree["feature_extractor_layer_descs"]]
    card = {"name": "checkpoint", "model_family": "wav2vec2", "model_config": {"encoder_config": tree}}
    (folder / "model.yaml").write_text(yaml.safe_dump(card))
    return place


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_equals_fairseq2(variant, tmp_path):
    from tests.encoder.test_foreign import close, run_ours, speechlike

    model, settings = make_model(**VARIANTS[variant])
    place = write(tmp_path, model, settings)
    assert is_foreign(tmp_path)
    with pytest.raises(InputRefused, match="--allow-pickle"):
        read_foreign(tmp_path)
    made = read_foreign(tmp_path, allow_pickle=True)
    assert made.origin["assumed"] == ["input_norm"]
    for other in (place.parents[3], place.parents[2], place):
        again = read_foreign(other, allow_pickle=True).encoder
        assert again.config == made.encoder.config
    from fairseq2.nn import BatchLayout

    seen = {}
    for index, block in enumerate(model.encoder.layers):
        block.register_forward_hook(lambda module, inputs, output, index=index: seen.update({index: output[0]}))
    for samples in (400, 5_000, 31_999):
        waveform = speechlike(samples, samples)
        values = torch.from_numpy(waveform)[None]
        if variant == "large":
            values = torch.nn.functional.layer_norm(values, values.shape)
        with torch.inference_mode():
            frames, layout = model.encoder_frontend(values, BatchLayout.of(values))
            output = model.encoder(frames, layout)
        layers, ours, _ = run_ours(made.encoder, waveform)
        for index in range(3):
            close(layers[index + 1], seen[index])
        close(ours, output[0])


def test_a_norm_that_ours_has_not_is_refused(tmp_path):
    model, _ = make_model(24, bias=True, layered=True, features_norm=True)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputRefused, match=r"would both be our context\.norm"):
        read_foreign(tmp_path / "model.pt", allow_pickle=True)


def test_without_a_card_the_heads_are_assumed_and_that_is_said(tmp_path):
    model, _ = make_model(24)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pt")
    made = read_foreign(tmp_path / "model.pt", allow_pickle=True)
    assert made.origin == {"source": "model.pt", "library": "fairseq2", "model": "wav2vec2",
                           "assumed": ["input_norm", "heads"]}  # fmt: skip
    assert made.encoder.config.heads == 1


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"x.weight": torch.zeros(2)}], ids=str)
def test_other_pickles_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputRefused):
        read_foreign(tmp_path / "other.pt", allow_pickle=True)
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(InputRefused, match="tensors alone"):
        read_foreign(Path(tmp_path / "text.pt"), allow_pickle=True)
