"""The same wav2vec 2.0 three times: this project's, fairseq2's and Hugging Face's, of equal sizes and weights.

Layer norms everywhere and before the blocks ("large" layout of the literature), dropout of the two residual branches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechunits.config import EncoderConfig, Wav2Vec2Config
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.frontend import WaveformFrontend
from speechunits.engine.native import prepare_fairseq2
from speechunits.learners.wav2vec2 import Wav2Vec2Learner

MASK_PROBABILITY, SPAN = 0.65, 10


def comparable(size: str, *, dropout: float = 0.1, **changes: Any) -> EncoderConfig:
    """Return this project's configuration that peers can match: waveform front end, samples taken as they are."""
    fields = {**EncoderConfig.PRESETS.get(size, {}), "frontend": "waveform", "frontend_norm": "layer"}
    if size in EncoderConfig.PRESETS:
        fields["size"] = size
    return EncoderConfig(**{**fields, "input_norm": "none", "pre_norm": True, "dropout": dropout, **changes})


def fairseq2_encoder_config(config: EncoderConfig) -> Any:
    """Return fairseq2's configuration of the encoder."""
    prepare_fairseq2()
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2.config import Wav2Vec2EncoderConfig

    return Wav2Vec2EncoderConfig(
        model_dim=config.dim, feature_dim=config.channels, layer_norm_features=False,
        feature_extractor_layer_descs=[(config.channels, *layer) for layer in WaveformFrontend.LAYERS],
        feature_extractor_bias=True, feature_extractor_layer_norm_convs=True, feature_grad_scale=1.0,
        pos_conv_kernel_size=config.position_kernel, num_pos_conv_groups=config.position_groups,
        num_encoder_layers=config.layers, num_encoder_attn_heads=config.heads, ffn_inner_dim=config.ffn_dim,
        dropout_p=config.dropout, attn_dropout_p=0.0, layer_drop_p=0.0, norm_order=TransformerNormOrder.PRE,
    )  # fmt: skip


def fairseq2_pretraining(config: EncoderConfig, method: Wav2Vec2Config) -> nn.Module:
    """Return fairseq2's Wav2Vec2Model; its quantiser compiles itself in every forward pass, which is switched off."""
    encoder = fairseq2_encoder_config(config)
    from fairseq2.models.wav2vec2.config import Wav2Vec2Config as Config
    from fairseq2.models.wav2vec2.factory import create_wav2vec2_model

    torch.compiler.set_stance("force_eager")
    model = create_wav2vec2_model(Config(
        encoder_config=encoder, final_dim=method.final_dim, quantized_dim=method.final_dim,
        max_temporal_mask_prob=MASK_PROBABILITY, temporal_mask_span_len=SPAN, num_codebooks=method.quantizer.groups,
        num_codebook_entries=method.quantizer.entries, num_distractors=method.negatives, logit_temp=method.temperature,
    ))  # fmt: skip
    return with_projection(model, config)


def fairseq2_recognizer(config: EncoderConfig, symbols: int) -> nn.Module:
    """Return fairseq2's Wav2Vec2AsrModel."""
    encoder = fairseq2_encoder_config(config)
    from fairseq2.models.wav2vec2.asr.config import Wav2Vec2AsrConfig
    from fairseq2.models.wav2vec2.asr.factory import create_wav2vec2_asr_model

    model = create_wav2vec2_asr_model(
        Wav2Vec2AsrConfig(
            encoder_config=encoder,
            target_vocab_size=symbols,
            max_spatial_mask_prob=0.15,
            spatial_mask_span_len=config.dim // 16,
        )
    )
    return with_projection(model, config)


def with_projection(model: Any, config: EncoderConfig) -> nn.Module:
    """Give fairseq2's front end the projection that it leaves out where channels and dimensions are equal in number."""
    if config.channels == config.dim:
        model.encoder_frontend.model_dim_proj = nn.Linear(config.channels, config.dim)
    result: nn.Module = model
    return result


def fairseq2_layout(waveforms: Tensor) -> Any:
    """Return the layout of a batch without padding."""
    from fairseq2.nn import BatchLayout

    return BatchLayout(tuple(waveforms.shape), seq_lens=[waveforms.shape[1]] * len(waveforms), device=waveforms.device)


def hugging_face_config(config: EncoderConfig, method: Wav2Vec2Config, symbols: int = 32) -> Any:
    """Return Hugging Face's configuration."""
    from transformers import Wav2Vec2Config as Config

    return Config(
        vocab_size=symbols, hidden_size=config.dim, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, intermediate_size=config.ffn_dim, hidden_dropout=config.dropout,
        activation_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, feat_quantizer_dropout=0.0,
        final_dropout=0.0, layerdrop=0.0, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True,
        conv_dim=[config.channels] * 7, conv_kernel=[kernel for kernel, _ in WaveformFrontend.LAYERS],
        conv_stride=[stride for _, stride in WaveformFrontend.LAYERS], num_conv_pos_embeddings=config.position_kernel,
        num_conv_pos_embedding_groups=config.position_groups, mask_time_prob=0.05, mask_time_length=SPAN,
        num_codevectors_per_group=method.quantizer.entries, num_codevector_groups=method.quantizer.groups,
        contrastive_logits_temperature=method.temperature, num_negatives=method.negatives,
        codevector_dim=method.final_dim, proj_codevector_dim=method.final_dim, pad_token_id=0,
        ctc_loss_reduction="sum", ctc_zero_infinity=True,
    )  # fmt: skip


def encoder_names(encoder: Encoder, *, peer: str) -> dict[str, Tensor]:
    """Return the encoder's tensors under the names of ``fairseq2`` or ``huggingface`` (notes: the names correspond)."""
    ours = peer == "fairseq2"
    extractor, projection, stack = (
        ("encoder_frontend.feature_extractor.layers", "encoder_frontend", "encoder")
        if ours
        else ("feature_extractor.conv_layers", "feature_projection", "encoder")
    )
    names: dict[str, Tensor] = {}

    def put(name: str, module: nn.Module) -> None:
        names.update({f"{name}.{key}": value for key, value in module.state_dict().items()})

    for place, (convolution, norm) in enumerate(
        zip(encoder.frontend.convolutions, encoder.frontend.norms, strict=True)  # type: ignore[arg-type]
    ):
        put(f"{extractor}.{place}.conv", convolution)
        put(f"{extractor}.{place}.layer_norm", norm)
    context = encoder.context
    put(f"{projection}.post_extract_layer_norm" if ours else f"{projection}.layer_norm", encoder.norm)
    put(f"{projection}.model_dim_proj" if ours else f"{projection}.projection", context.projection)
    position = "encoder_frontend.pos_encoder.conv" if ours else "encoder.pos_conv_embed.conv"
    convolution = context.positions.convolution
    scales = convolution.parametrizations.weight
    weights = ("weight_g", "weight_v") if ours else tuple(f"parametrizations.weight.original{n}" for n in (0, 1))
    names.update({f"{position}.{weights[0]}": scales.original0, f"{position}.{weights[1]}": scales.original1})
    names[f"{position}.bias"] = convolution.bias
    put(f"{stack}.layer_norm", context.norm)
    names["masker.temporal_mask_embed" if ours else "masked_spec_embed"] = context.mask_embedding
    for place, block in enumerate(context.blocks):
        names.update(_block_names(f"{stack}.layers.{place}", block, ours=ours))
    return names


def _block_names(prefix: str, block: nn.Module, *, ours: bool) -> dict[str, Tensor]:
    names: dict[str, Tensor] = {}
    attention: Any = block.attention
    self_attention = f"{prefix}.{'self_attn' if ours else 'attention'}"
    for part in ("weight", "bias"):
        thirds = getattr(attention.inputs, part).chunk(3)
        names.update({f"{self_attention}.{n}_proj.{part}": third for n, third in zip("qkv", thirds, strict=True)})
    pairs = {
        f"{self_attention}.{'output_proj' if ours else 'out_proj'}": attention.output,
        f"{prefix}.{'self_attn_layer_norm' if ours else 'layer_norm'}": block.attention_norm,
        f"{prefix}.{'ffn_layer_norm' if ours else 'final_layer_norm'}": block.ffn_norm,
        f"{prefix}.{'ffn.inner_proj' if ours else 'feed_forward.intermediate_dense'}": block.expand,
        f"{prefix}.{'ffn.output_proj' if ours else 'feed_forward.output_dense'}": block.contract,
    }
    for name, module in pairs.items():
        assert isinstance(module, nn.Module)
        names.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
    return names


def copy_pretraining(learner: Wav2Vec2Learner, model: nn.Module, *, peer: str) -> None:
    """Give a peer's pretraining model the learner's weights, all of them.

    Raises
    ------
    RuntimeError
        If the two do not have the same parameters.
    """
    heads, quantizer = learner.heads, learner.quantizer
    prefix = "" if peer == "fairseq2" else "wav2vec2."
    names = {prefix + name: value for name, value in encoder_names(learner.encoder, peer=peer).items()}
    proj, target, scores, entries = (
        ("final_proj", "final_target_proj", "quantizer.entry_proj", "quantizer.entries")
        if peer == "fairseq2"
        else ("project_hid", "project_q", "quantizer.weight_proj", "quantizer.codevectors")
    )
    for name, module in ((proj, heads["context"]), (target, heads["target"]), (scores, quantizer.scores)):
        names.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
    names[entries] = quantizer.entries.flatten(0, 1)[None]
    load(model, names)


def load(model: nn.Module, names: dict[str, Tensor]) -> None:
    """Load tensors into a model whose parameters they must be; buffers may be left as they are."""
    missing, unexpected = model.load_state_dict({k: v.detach().clone() for k, v in names.items()}, strict=False)
    missing = sorted(set(missing) & {name for name, _ in model.named_parameters()})
    if missing or unexpected:
        raise RuntimeError(f"weights must correspond, but {missing} are missing and {unexpected} unknown")
