"""wav2vec 2.0, HuBERT, WavLM, XLS-R and MMS as Hugging Face writes them: configuration and names of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.foreign import rename
from speechunits.encoder.frontend import WaveformFrontend
from speechunits.errors import ModelRefused

_MODELS = ("wav2vec2", "hubert", "wavlm")
_BLOCK = r"encoder\.layers\.(\d+)\."
NAMES: Mapping[str, str] = {
    r"feature_extractor\.conv_layers\.(\d+)\.conv\.": r"frontend.convolutions.\1.",
    r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.": r"frontend.norms.\1.",
    r"feature_projection\.layer_norm\.": "norm.",
    r"feature_projection\.projection\.": "context.projection.",
    "masked_spec_embed": "context.mask_embedding",
    r"encoder\.pos_conv_embed\.conv\.bias": "context.positions.convolution.bias",
    r"encoder\.pos_conv_embed\.conv\.(parametrizations\.weight\.original0|weight_g)":
        "context.positions.convolution.parametrizations.weight.original0",
    r"encoder\.pos_conv_embed\.conv\.(parametrizations\.weight\.original1|weight_v)":
        "context.positions.convolution.parametrizations.weight.original1",
    r"encoder\.layer_norm\.": "context.norm.",
    _BLOCK + r"attention\.([qkv])_proj\.": r"context.blocks.\1.attention.\2.",
    _BLOCK + r"attention\.out_proj\.": r"context.blocks.\1.attention.output.",
    _BLOCK + r"attention\.gru_rel_pos_linear\.": r"context.blocks.\1.attention.gate.projection.",
    _BLOCK + r"attention\.gru_rel_pos_const": r"context.blocks.\1.attention.gate.scale",
    r"encoder\.layers\.0\.attention\.rel_attn_embed\.": "context.relative.embedding.",
    _BLOCK + r"layer_norm\.": r"context.blocks.\1.attention_norm.",
    _BLOCK + r"feed_forward\.intermediate_dense\.": r"context.blocks.\1.expand.",
    _BLOCK + r"feed_forward\.output_dense\.": r"context.blocks.\1.contract.",
    _BLOCK + r"final_layer_norm\.": r"context.blocks.\1.ffn_norm.",
}  # fmt: skip
"""Name there (from its start) → name here."""


def convert(
    settings: Mapping[str, Any], preprocessor: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[EncoderConfig, dict[str, Tensor], dict[str, Any]]:
    """Return our configuration, the renamed tensors and their origin, from config.json, preprocessor_config.json.

    Raises
    ------
    ModelRefused
        If the model is of another kind, or has parts that ours has not; each is named.
    """
    model = settings.get("model_type")
    if model not in _MODELS:
        raise ModelRefused(f"model_type must be one of {', '.join(_MODELS)}, but is {model!r} instead")
    try:
        _check(settings, preprocessor)
        config = _config(settings, preprocessor)
    except KeyError as error:
        raise ModelRefused(f"config.json lacks {error}; copy it again") from error
    except TypeError as error:
        raise ModelRefused(f"config.json holds a value of another type than there should be ({error})") from error
    # A model with a head keeps its encoder under its own name.
    bare = {re.sub(r"^(wav2vec2|hubert|wavlm)\.", "", name): tensor for name, tensor in tensors.items()}
    renamed = rename(bare, NAMES, r"(feature_extractor|feature_projection|encoder|masked_spec_embed)\b")
    renamed = {name: tensor.flatten() if name.endswith("gate.scale") else tensor for name, tensor in renamed.items()}
    return config, renamed, {"library": "transformers", "model": model, "assumed": []}


def _config(settings: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> EncoderConfig:
    relative = settings["model_type"] == "wavlm"
    return build_config(
        EncoderConfig,
        {
            "size": "base", "frontend": "waveform", "channels": settings["conv_dim"][0],
            "frontend_norm": settings["feat_extract_norm"], "frontend_bias": bool(settings.get("conv_bias", False)),
            # Where the file is missing, the library's own default is to normalise.
            "input_norm": "window" if preprocessor.get("do_normalize", True) else "none", "input_epsilon": 1e-7,
            "latent_norm": bool(settings.get("feat_proj_layer_norm", True)),
            "dim": settings["hidden_size"], "layers": settings["num_hidden_layers"],
            "heads": settings["num_attention_heads"], "ffn_dim": settings["intermediate_size"],
            "position_kernel": settings["num_conv_pos_embeddings"],
            "position_groups": settings["num_conv_pos_embedding_groups"],
            "pre_norm": bool(settings.get("do_stable_layer_norm", False)),
            "dropout": float(settings.get("hidden_dropout", 0.1)),
            "relative_buckets": settings.get("num_buckets", 320) if relative else 0,
            "relative_distance": settings.get("max_bucket_distance", 800),
        },
        origin="config.json",
    )  # fmt: skip


def _check(settings: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> None:
    kernels, strides = (list(values) for values in zip(*WaveformFrontend.LAYERS, strict=True))
    channels = settings.get("conv_dim") or [0]
    wanted = {
        "conv_kernel": kernels, "conv_stride": strides, "conv_dim": [channels[0]] * len(kernels),
        "feat_extract_activation": "gelu", "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "conv_pos_batch_norm": False, "adapter_attn_dim": None, "sampling_rate": 16_000,
    }  # fmt: skip
    found = {**settings, **{key: preprocessor[key] for key in ("sampling_rate",) if key in preprocessor}}
    faults = [
        f"{key} must be {value}, but is {found[key]} instead"
        for key, value in wanted.items()
        if key in found and (list(found[key]) if isinstance(found[key], tuple) else found[key]) != value
    ]
    if faults:
        raise ModelRefused("this encoder has parts that ours has not: " + "; ".join(faults))
