"""wav2vec 2.0 as fairseq2 writes it: names of tensors, and a configuration from its card or from shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.foreign import rename
from speechunits.errors import ModelRefused

_HEAD_DIM = 64
"""Width of a head in every published model: shapes alone do not tell it."""
_FRONT = r"encoder_frontend\."
_BLOCK = r"encoder\.layers\.(\d+)\."
NAMES: Mapping[str, str] = {
    _FRONT + r"feature_extractor\.layers\.(\d+)\.conv\.": r"frontend.convolutions.\1.",
    _FRONT + r"feature_extractor\.layers\.(\d+)\.(group|layer)_norm\.": r"frontend.norms.\1.",
    _FRONT + r"post_extract_layer_norm\.": "norm.",
    _FRONT + r"model_dim_proj\.": "context.projection.",
    r"masker\.temporal_mask_embed": "context.mask_embedding",
    _FRONT + r"pos_encoder\.conv\.bias": "context.positions.convolution.bias",
    _FRONT + r"pos_encoder\.conv\.(weight_g|parametrizations\.weight\.original0)":
        "context.positions.convolution.parametrizations.weight.original0",
    _FRONT + r"pos_encoder\.conv\.(weight_v|parametrizations\.weight\.original1)":
        "context.positions.convolution.parametrizations.weight.original1",
    _FRONT + r"layer_norm\.": "context.norm.",
    r"encoder\.layer_norm\.": "context.norm.",
    _BLOCK + r"self_attn\.([qkv])_proj\.": r"context.blocks.\1.attention.\2.",
    _BLOCK + r"self_attn\.output_proj\.": r"context.blocks.\1.attention.output.",
    _BLOCK + r"self_attn_layer_norm\.": r"context.blocks.\1.attention_norm.",
    _BLOCK + r"ffn\.inner_proj\.": r"context.blocks.\1.expand.",
    _BLOCK + r"ffn\.output_proj\.": r"context.blocks.\1.contract.",
    _BLOCK + r"ffn_layer_norm\.": r"context.blocks.\1.ffn_norm.",
}  # fmt: skip
"""Name there (from its start) → name here."""


def convert(
    card: Path | None, tensors: Mapping[str, Tensor]
) -> tuple[EncoderConfig, dict[str, Tensor], dict[str, Any]]:
    """Return our configuration, the renamed tensors and their origin; ``card`` is the ``model.yaml`` of a run.

    Only the number of heads cannot be told from shapes: without a card it is assumed, and the origin says so. So is
    what no checkpoint of fairseq2 tells: waveforms are normalised where every convolution has a layer norm, as in all
    published models.

    Raises
    ------
    ModelRefused
        If a tensor is missing, or is not of a wav2vec 2.0 encoder with waveform convolutions.
    """
    bare = {name.removeprefix("module.").removeprefix("model."): tensor for name, tensor in tensors.items()}
    renamed = rename(bare, NAMES, r"(encoder|encoder_frontend)\.")
    assumed = ["input_norm"]
    try:
        dim, channels = renamed["context.blocks.0.attention.q.weight"].shape[0], renamed["norm.weight"].shape[0]
        _, grouped, kernel = renamed["context.positions.convolution.parametrizations.weight.original1"].shape
        ffn_dim = renamed["context.blocks.0.expand.weight"].shape[0]
    except KeyError as error:
        raise ModelRefused(
            f"this is no wav2vec 2.0 of fairseq2: it has no {error}; of Hugging Face's models give the whole folder"
        ) from error
    settings = _card(card)
    heads = settings.get("num_encoder_attn_heads")
    if heads is None:
        heads = max(dim // _HEAD_DIM, 1)
        assumed.append("heads")
    if "context.projection.weight" not in renamed:
        # Left out there where the dimensions agree.
        renamed |= {"context.projection.weight": torch.eye(dim), "context.projection.bias": torch.zeros(dim)}
    layered = "frontend.norms.1.weight" in renamed
    blocks = {name.split(".")[2] for name in renamed if name.startswith("context.blocks.")}
    config = build_config(
        EncoderConfig,
        {
            "size": "base", "frontend": "waveform", "channels": channels, "dim": dim, "layers": len(blocks),
            "heads": heads, "ffn_dim": ffn_dim, "position_kernel": kernel, "position_groups": dim // grouped,
            "frontend_norm": "layer" if layered else "group", "input_norm": "window" if layered else "none",
            "frontend_bias": "frontend.convolutions.0.bias" in renamed, "pre_norm": "encoder.layer_norm.weight" in bare,
        },
        origin="fairseq2 checkpoint",
    )  # fmt: skip
    return config, renamed, {"library": "fairseq2", "model": "wav2vec2", "assumed": assumed}


def _card(path: Path | None) -> Mapping[str, Any]:
    """Return the encoder's configuration in a ``model.yaml``, empty without one."""
    if path is None:
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings = tree.get("model_config", {}).get("encoder_config", {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise ModelRefused(f"{path} cannot be read as a fairseq2 model card ({error})") from error
    return dict(settings) if isinstance(settings, Mapping) else {}
