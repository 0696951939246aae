"""Product quantiser with a straight-through Gumbel softmax (wav2vec 2.0 §2; Jang et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from speechunits.config import QuantizerConfig, build_config
from speechunits.encoder.encoder import load_exported


class Quantized(NamedTuple):
    """Quantised latents."""

    vectors: Tensor
    """``(N, output_dim)`` chosen entries of all groups, side by side."""
    codes: Tensor
    """``(N, G)`` int64 chosen entry of each group."""
    probabilities: Tensor
    """``(N, G, V)`` softmax of the scores, without noise or temperature: what the diversity loss averages."""


class ProductQuantizer(nn.Module):
    """G codebooks of V entries; each latent chooses one entry of each. Computes in fp32 under autocast.

    In training mode the choice is drawn (Gumbel noise from a given generator) and its gradient is that of the softmax;
    in evaluation mode it is the most probable entry.
    """

    def __init__(self, input_dim: int, output_dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        if output_dim % config.groups:
            raise ValueError(
                f"the quantiser's output must be a multiple of groups ({config.groups}), but is {output_dim}"
            )
        self.config = config
        self.temperature = config.temperature_start
        self.scores = nn.Linear(input_dim, config.groups * config.entries)
        nn.init.normal_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)
        # Around zero (the published code draws from 0 to 1): with a mean in common all cosines begin near one.
        entries = torch.empty(config.groups, config.entries, output_dim // config.groups)
        self.entries = nn.Parameter(entries.uniform_(-0.5, 0.5))

    def set_temperature(self, step: int) -> None:
        """Cool the softmax: ``max(end, start * decay ** step)``."""
        config = self.config
        self.temperature = max(config.temperature_end, config.temperature_start * config.temperature_decay**step)

    def forward(self, latents: Tensor, generator: torch.Generator | None = None) -> Quantized:
        """Quantise ``(N, C)`` latents; training needs a ``generator`` on their device."""
        config = self.config
        with torch.autocast(latents.device.type, enabled=False):
            scores = self.scores(latents.to(self.scores.weight.dtype)).view(-1, config.groups, config.entries)
            probabilities = scores.softmax(dim=-1)
            if not self.training:
                codes = scores.argmax(dim=-1)
                chosen = [self.entries[group][codes[:, group]] for group in range(config.groups)]
                return Quantized(torch.cat(chosen, dim=-1), codes, probabilities)
            # Gumbel noise by inversion; the clamp keeps log(0) out.
            uniform = torch.rand(scores.shape, generator=generator, device=scores.device).clamp_min_(1e-10)
            noise = -(-uniform.log()).clamp_min(1e-10).log()
            soft = ((scores + noise) / self.temperature).softmax(dim=-1)
            codes = soft.argmax(dim=-1)
            hard = torch.zeros_like(soft).scatter_(-1, codes[..., None], 1.0)
            # Forward the hard choice, backward the soft one.
            choice = hard - soft.detach() + soft
            vectors = torch.einsum("ngv,gvd->ngd", choice, self.entries).flatten(1)
            return Quantized(vectors, codes, probabilities)


def quantizer_from_export(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> ProductQuantizer:
    """Return the quantiser that a wav2vec 2.0 learner exported, in evaluation mode.

    Raises
    ------
    ModelRefused
        If a tensor is missing, unknown or of the wrong shape.
    """
    config = build_config(QuantizerConfig, header["quantizer"], origin="quantizer of the bundle")
    quantizer = ProductQuantizer(header["encoder"]["channels"], header["quantizer_dim"], config)
    load_exported(quantizer, tensors, "quantizer.")
    return quantizer.eval()
