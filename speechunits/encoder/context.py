"""The context network: convolutional positions and a transformer, from (B, S, C) latents to every layer (B, S, D)."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechunits.config import EncoderConfig
from speechunits.encoder.convolution import inferring
from speechunits.encoder.dropout import Dropout
from speechunits.encoder.fused import convolution_gelu, fuses, linear_gelu
from speechunits.encoder.grouped import grouped_convolution
from speechunits.encoder.relative import RelativeGate, RelativePositions
from speechunits.frames import frames_mask


class Past:
    """What a layer keeps of the frames before, where a causal encoder is given a recording piece by piece."""

    def __init__(self) -> None:
        self.tensors: tuple[Tensor, ...] = ()

    def joined(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return ``(B, H, S, E)`` tensors behind those of all calls before."""
        if self.tensors:
            tensors = tuple(torch.cat(pair, dim=2) for pair in zip(self.tensors, tensors, strict=True))
        self.tensors = tensors
        return tensors


class Attention(nn.Module):
    """Multi-head self-attention over the real frames of each row."""

    def __init__(self, dim: int, heads: int, *, relative: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.gate = RelativeGate(dim, heads) if relative else None

    def forward(
        self, frames: Tensor, keys: Tensor, positions: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        """Return ``(B, S, D)`` for ``(B, S, D)`` frames.

        ``keys`` is ``(B, 1, 1 or S, S)``, true for frames to read; ``positions`` ``(1, H, S, S)``, to be gated. With
        ``past`` the frames before are read too, and their number is added to the last dimension of both.
        """
        batch, size, dim = frames.shape
        projected = self.inputs(frames).view(batch, size, 3, self.heads, dim // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        if past is not None:
            key, value = past.joined(key, value)
        bias = None if self.gate is None or positions is None else self.gate(frames) * positions
        mixed = attend(query, key, value, keys, bias)
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, size, dim))
        return output


def attend(query: Tensor, key: Tensor, value: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of ``(B, H, S, E)`` heads over the frames that ``keys`` (B, 1, 1 or S, S) allows.

    ``bias`` ``(B, H, S, S)`` is added to the scores.

    On CPUs, forward and backward passes of torch's fused kernel took twice as long in bf16 as plain products (107
    against 48 ms at B = 10, H = 4, S = 400, one thread), so that training there goes without it; and a forward pass
    half as long again (4.4 against 2.4 ms for one row of 500 frames), so that units do as well.
    """
    if inferring(query) and query.dtype == torch.bfloat16 and bias is None and keys.shape[2] == 1:
        return torch.stack([_attend_row(*row) for row in zip(query, key, value, keys[:, 0, 0], strict=True)])
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        mask = keys if bias is None else bias.to(query.dtype).masked_fill(~keys, float("-inf"))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    # In place and additive: one pass over (B, H, S, S), and none backward. The softmax sums in fp32 by itself.
    scores += torch.zeros_like(keys, dtype=scores.dtype).masked_fill_(~keys, float("-inf"))
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed


def _attend_row(query: Tensor, key: Tensor, value: Tensor, keys: Tensor) -> Tensor:
    """Return the attention of one row's ``(H, S, E)`` heads over the frames up to the last that ``(S,)`` keys allow.

    A row alone, so that it depends on no other; and padding is cut off, not masked.
    """
    count = int(keys.sum())
    key, value = key[:, :count].contiguous(), value[:, :count].contiguous()
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))
    # In its own memory: pages that are new are dearer than the softmax.
    torch.softmax(scores, dim=-1, out=scores)
    return torch.bmm(scores, value)


class Block(nn.Module):
    """A transformer block with the norms before (``pre_norm``) or after its two residual branches."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = Attention(config.dim, config.heads, relative=config.relative_buckets > 0)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.expand = nn.Linear(config.dim, config.ffn_dim)
        self.contract = nn.Linear(config.ffn_dim, config.dim)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, frames: Tensor, keys: Tensor, positions: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        """Return ``(B, S, D)``; ``keys``, ``positions`` and ``past`` as :class:`Attention` takes them."""
        if self.pre_norm:
            frames = frames + self.dropout(self.attention(self.attention_norm(frames), keys, positions, past))
            frames = frames + self.dropout(self._ffn(self.ffn_norm(frames)))
        else:
            frames = self.attention_norm(frames + self.dropout(self.attention(frames, keys, positions, past)))
            frames = self.ffn_norm(frames + self.dropout(self._ffn(frames)))
        return frames

    def _ffn(self, frames: Tensor) -> Tensor:
        output: Tensor = self.contract(linear_gelu(frames, self.expand))
        return output


class RecurrentBlock(nn.Module):
    """A residual recurrent layer (the context of CPC: van den Oord et al. 2018, §3.1), causal by its nature.

    Padding comes last in a row: it needs no mask.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        frames: Tensor,
        keys: Tensor,  # noqa: ARG002 - as Block
        positions: Tensor | None = None,  # noqa: ARG002 - as Block
        past: Past | None = None,
    ) -> Tensor:
        """Return ``(B, S, D)``."""
        with torch.autocast(frames.device.type, enabled=False):
            before = past.tensors[0] if past is not None and past.tensors else None
            states, last = self.gru(self.norm(frames.float()), before)
        if past is not None:
            past.tensors = (last,)
        output: Tensor = frames + self.dropout(states)
        return output


class Positions(nn.Module):
    """Relative positions by a grouped convolution (Baevski et al. 2020, §2), weight-normalised over its taps."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kernel = config.position_kernel
        self.past = kernel - 1 if config.causal else 0
        self.padding = 0 if config.causal else kernel // 2
        convolution = nn.Conv1d(config.dim, config.dim, kernel, groups=config.position_groups, padding=self.padding)
        nn.init.normal_(convolution.weight, std=math.sqrt(4 * (1 - config.dropout) / (kernel * config.dim)))
        self.convolution = weight_norm(convolution, dim=2)

    def forward(self, frames: Tensor, past: Tensor | None = None) -> Tensor:
        """Return the ``(B, S, D)`` positions of frames that are zero beyond each row's length.

        ``past`` ``(B, P, D)`` are the frames before these, P one less than the kernel, in the place of causal padding.
        """
        frames, size = frames.transpose(1, 2), frames.shape[1]
        if past is not None:
            frames = torch.cat([past.transpose(1, 2), frames], dim=2)
        elif self.past:
            frames = F.pad(frames, (self.past, 0))
        weight, bias, groups = self.convolution.weight, self.convolution.bias, self.convolution.groups
        assert bias is not None
        if fuses(frames):
            positions = convolution_gelu(frames, weight, bias, groups=groups, padding=self.padding)
            return positions[..., :size].transpose(1, 2)
        positions = grouped_convolution(frames, weight, bias, groups=groups, padding=self.padding)
        # An even kernel yields one frame too many.
        return F.gelu(positions[..., :size]).transpose(1, 2)


class Context(nn.Module):
    """Projection, mask, positions and blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.causal = config.causal
        self.projection = nn.Linear(config.channels, config.dim)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.positions = Positions(config)
        self.relative = RelativePositions(config) if config.relative_buckets else None
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        block = Block if config.context == "transformer" else RecurrentBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        latents: Tensor,
        frame_lengths: Tensor,
        mask: Tensor | None,
        *,
        depth: int | None = None,
        every_layer: bool = True,
    ) -> tuple[list[Tensor], Tensor]:
        """Return the input of the blocks and the output of each (none unless wanted), and the final one, ``(B, S, D)``.

        ``latents`` is ``(B, S, C)``, ``mask`` ``(B, S)``, true where the projected frame is replaced by the embedding.
        Only the first ``depth`` blocks are run, by default all.
        """
        # The residual stream stays in fp32 under autocast; only what branches off it is bf16.
        # Small, and all that follows is made of it: where units are made it is computed in fp32 too.
        with torch.autocast("cpu", enabled=False) if inferring(latents) else nullcontext():
            frames = self.projection(latents).float()
        if mask is None and self.training:
            # Every parameter takes part in every training step: data-parallel wrappers count on it.
            mask = torch.zeros(frames.shape[:2], dtype=torch.bool, device=frames.device)
        if mask is not None:
            frames = torch.where(mask[..., None], self.mask_embedding, frames)
        # Finite here: a product clears the padding for less than a fill.
        real = frames_mask(frame_lengths, frames.shape[1])
        cleared = real[..., None].to(frames.dtype)
        frames = frames * cleared
        layers = [frames] if every_layer else []
        frames = frames + self.positions(frames)
        if not self.pre_norm:
            frames = self.norm(frames)
        frames = self.dropout(frames)
        # A row without frames reads its padding, since a softmax over nothing is NaN; it is zeroed like all padding.
        keys = (real | (frame_lengths == 0)[:, None])[:, None, None, :]
        positions = None if self.relative is None else self.relative(frames.shape[1])
        if self.causal:
            size = frames.shape[1]
            keys = keys & torch.ones(size, size, dtype=torch.bool, device=frames.device).tril()
        for block in self.blocks[:depth]:
            frames = block(frames, keys, positions)
            if every_layer:
                layers.append(frames * cleared)
        output = (self.norm(frames) if self.pre_norm else frames) * cleared
        return layers, output
