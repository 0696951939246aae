"""The whole waveform encoder against torchaudio's wav2vec 2.0 with the same weights."""

import pytest
import torch
from torchaudio.models import wav2vec2_model

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.encoder import Encoder


def copy_linear(ours, theirs):
    ours.weight.copy_(theirs.weight)
    if theirs.bias is not None:
        ours.bias.copy_(theirs.bias)


@torch.no_grad()
def copy_weights(ours, theirs):
    for parameter in theirs.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) * 0.3)
    for index, layer in enumerate(theirs.feature_extractor.conv_layers):
        copy_linear(ours.frontend.convolutions[index], layer.conv)
        if layer.layer_norm is not None:
            copy_linear(ours.frontend.norms[index], layer.layer_norm)
    copy_linear(ours.norm, theirs.encoder.feature_projection.layer_norm)
    copy_linear(ours.context.projection, theirs.encoder.feature_projection.projection)
    transformer = theirs.encoder.transformer
    source = transformer.pos_conv_embed.conv
    ours.context.positions.convolution.weight = source.weight
    ours.context.positions.convolution.bias.copy_(source.bias)
    copy_linear(ours.context.norm, transformer.layer_norm)
    for mine, layer in zip(ours.context.blocks, transformer.layers, strict=True):
        attention = layer.attention
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        mine.attention.inputs.weight.copy_(torch.cat([projection.weight for projection in projections]))
        mine.attention.inputs.bias.copy_(torch.cat([projection.bias for projection in projections]))
        copy_linear(mine.attention.output, attention.out_proj)
        copy_linear(mine.attention_norm, layer.layer_norm)
        copy_linear(mine.expand, layer.feed_forward.intermediate_dense)
        copy_linear(mine.contract, layer.feed_forward.output_dense)
        copy_linear(mine.ffn_norm, layer.final_layer_norm)


@pytest.mark.parametrize(("norm", "pre_norm"), [("group", False), ("layer", True)], ids=["base", "large"])
def test_equals_torchaudio(norm, pre_norm):
    config = build_config(
        EncoderConfig,
        {"frontend": "waveform", "frontend_norm": norm, "input_norm": "none", "channels": 16, "dim": 32, "layers": 2,
         "heads": 4, "ffn_dim": 48, "position_kernel": 16, "position_groups": 4, "pre_norm": pre_norm},
    )  # fmt: skip
    layers = [(16, kernel, stride) for kernel, stride in [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]]
    theirs = wav2vec2_model(
        extractor_mode=f"{norm}_norm", extractor_conv_layer_config=layers, extractor_conv_bias=norm == "layer",
        encoder_embed_dim=32, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=16, encoder_pos_conv_groups=4,
        encoder_num_layers=2, encoder_num_heads=4, encoder_attention_dropout=0.0, encoder_ff_interm_features=48,
        encoder_ff_interm_dropout=0.0, encoder_dropout=0.0, encoder_layer_norm_first=pre_norm, encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()  # fmt: skip
    torch.manual_seed(0)
    ours = Encoder(config).eval()
    copy_weights(ours, theirs)
    waveforms = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([5000, 5000])
    with torch.no_grad():
        layers, counts = theirs.extract_features(waveforms, lengths)
        result = ours(waveforms, lengths)
    assert counts.tolist() == result.frame_lengths.tolist()
    expected = ours.context.norm(layers[-1]) if pre_norm else layers[-1]
    torch.testing.assert_close(result.output, expected, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(result.layers[1], layers[0], atol=2e-4, rtol=1e-4)
