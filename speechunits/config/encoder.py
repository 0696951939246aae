"""What an encoder is made of; sizes have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from speechunits.config.loader import LATER
from speechunits.config.ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, AT_LEAST_2, BELOW_1, NOT_0, SHARE, check_ranges


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A convolutional front end and a transformer context. Literature names are fairseq's ``Wav2Vec2Config``."""

    size: Literal["nano", "small", "medium", "large", "base"] = "nano"
    """A named preset for the fields below; fields given beside it override it."""
    frontend: Literal["logmel", "waveform"] = "logmel"
    channels: int = 192
    """Channels of the front end's convolutions (``conv_feature_layers``: 512)."""
    mel_bins: int = 80
    """Log-mel bins (log-mel front end only)."""
    frontend_norm: Literal["layer", "group"] = "layer"
    """``extractor_mode``, waveform front end only; group norm: over the real part of a window, first layer only."""
    input_norm: Literal["none", "window", "running"] = "window"
    """Zero mean, unit variance over the real part of a window: of the samples, or of each log-mel bin; ``running``:
    of each log-mel bin over the frames so far."""
    dim: int = 192
    """``encoder_embed_dim``."""
    layers: int = 4
    """``encoder_layers``."""
    heads: int = 4
    """``encoder_attention_heads``."""
    ffn_dim: int = 640
    """``encoder_ffn_embed_dim``."""
    position_kernel: int = 31
    """``conv_pos``: frames the convolutional position embedding sees."""
    position_groups: int = 16
    """``conv_pos_groups``."""
    pre_norm: bool = True
    """``layer_norm_first``."""
    dropout: float = 0.1
    frontend_bias: bool | None = field(default=None, metadata=LATER)
    """``conv_bias``, waveform front end only; None: a bias where every layer has its norm, none with group norm."""
    latent_norm: bool = field(default=True, metadata=LATER)
    """A layer norm between the front end and its projection (``feat_proj_layer_norm``)."""
    input_epsilon: float = field(default=1e-5, metadata=LATER)
    """Added to the variance of a waveform by ``input_norm`` (waveform front end only; Hugging Face: 1e-7)."""
    relative_buckets: int = field(default=0, metadata=LATER)
    """``num_buckets`` of WavLM's gated relative position bias; 0: none."""
    relative_distance: int = field(default=800, metadata=LATER)
    """``max_bucket_distance`` in frames: all that is farther shares a bucket."""
    causal: bool = field(default=False, metadata=LATER)
    """A frame reads nothing after its own 400 samples: causal attention, convolutions padded on the left."""
    context: Literal["transformer", "gru"] = field(default="transformer", metadata=LATER)
    """Blocks of the context network; ``gru``: residual recurrent layers in place of the transformer's."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "nano": {"channels": 192, "dim": 192, "layers": 4, "heads": 4, "ffn_dim": 640},
        "small": {"channels": 256, "dim": 256, "layers": 6, "heads": 4, "ffn_dim": 1024},
        "medium": {"channels": 384, "dim": 384, "layers": 8, "heads": 6, "ffn_dim": 1536},
        "large": {"channels": 512, "dim": 512, "layers": 8, "heads": 8, "ffn_dim": 2048},
        "base": {"frontend": "waveform", "channels": 512, "dim": 768, "layers": 12, "heads": 12, "ffn_dim": 3072,
                 "position_kernel": 128, "pre_norm": False},
    }  # fmt: skip

    def __post_init__(self) -> None:
        sizes = ("channels", "mel_bins", "dim", "layers", "heads", "ffn_dim", "position_kernel", "position_groups",
                 "relative_distance")  # fmt: skip
        check_ranges(
            self, {AT_LEAST_1: sizes, AT_LEAST_0: ("relative_buckets", "input_epsilon"), BELOW_1: ("dropout",)}
        )
        if self.input_norm == "running" and self.frontend != "logmel":
            raise ValueError("input_norm must be none or window with the waveform front end, but is running instead")
        if self.causal and (self.input_norm == "window" or self._group_norm):
            norm = "frontend_norm must be layer" if self._group_norm else "input_norm must be running (log-mel) or none"
            raise ValueError(f"{norm} in a causal encoder, since the statistics of a window include its future")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, but is {self.dim} with {self.heads} heads instead")
        if self.dim % self.position_groups:
            raise ValueError(
                f"dim must be a multiple of position_groups, but is {self.dim} with {self.position_groups}"
            )

    @property
    def _group_norm(self) -> bool:
        return self.frontend == "waveform" and self.frontend_norm == "group"


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Span masking (wav2vec 2.0 §3.1): every frame starts a span with probability ``start_prob``."""

    start_prob: float = 0.065
    """``mask_prob / mask_length``: .65 / 10 masks about 49 % of the frames."""
    span: int = 10
    """``mask_length`` in frames."""
    min_spans: int = 2
    """Spans an utterance gets at least, where it is long enough."""

    def __post_init__(self) -> None:
        check_ranges(self, {SHARE: ("start_prob",), AT_LEAST_1: ("span",), AT_LEAST_0: ("min_spans",)})


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Product quantiser with Gumbel softmax (wav2vec 2.0 §2)."""

    groups: int = 2
    """``latent_groups`` G."""
    entries: int = 320
    """``latent_vars`` V, entries of each group."""
    temperature_start: float = 2.0
    temperature_end: float = 0.5
    temperature_decay: float = 0.999995
    """``latent_temp``: max(end, start * decay ** step)."""

    def __post_init__(self) -> None:
        temperatures = ("temperature_start", "temperature_end")
        check_ranges(self, {
            AT_LEAST_1: ("groups",), AT_LEAST_2: ("entries",), ABOVE_0: temperatures, NOT_0: ("temperature_decay",),
        })  # fmt: skip
