"""Units as the input of a recogniser: recordings become pseudo-text first, and labels are spent on reading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechunits.asr.baseline import ConvolutionBlock
from speechunits.asr.frozen import row_key
from speechunits.asr.masks import augment_masks
from speechunits.config import AugmentConfig
from speechunits.errors import UsageError
from speechunits.frames import frame_count, frame_counts, frames_mask
from speechunits.units.sequence import merged, runs
from speechunits.units.units import Units

UnitInput = Literal["units", "pieces"]
PREFIX = "inventory."
"""Marks the inventory's tensors in a recogniser's bundle."""
_MOST_SYMBOLS = 65_536
_KEPT_FRAMES = 20_000_000
"""Frames whose symbols are remembered: a hundred hours, 160 MB."""


class UnitNetwork(nn.Module):
    """Unit of each frame (or the pseudo-text piece it lies in) → embedding → convolution blocks at 50 Hz.

    The inventory is frozen and no part of the parameters: nothing of the sound but its units reaches the recogniser.
    Rows that come again, as in a training they do, are known by their samples; their symbols are not found again.
    """

    def __init__(
        self, inventory: Units, reads: UnitInput = "units", *,
        dim: int = 256, blocks: int = 4, kernel: int = 15, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inventory = inventory
        self.reads = reads
        self.dim = dim
        self._pieces = inventory.pseudotext if reads == "pieces" else None
        symbols = inventory.clusters if self._pieces is None else len(self._pieces)
        if symbols > _MOST_SYMBOLS:
            raise UsageError(
                f"a recogniser reads at most {_MOST_SYMBOLS} symbols, but the inventory has {symbols}; fit fewer units"
            )
        self._known: dict[bytes, Tensor] = {}
        self._kept_frames = 0
        self.embedding = nn.Embedding(symbols, dim)
        self.mask_embedding = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(ConvolutionBlock(dim, kernel, dropout) for _ in range(blocks))

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *,
        augment: AugmentConfig | None = None, seed: int = 0, mel: Tensor | None = None,  # noqa: ARG002 - as the others
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return ``(B, S, D)`` features and ``(B,)`` frame counts of ``(B, T)`` samples; ``augment`` masks symbols."""
        frame_lengths = frame_counts(lengths)
        size = frame_count(waveforms.shape[1])
        hidden = self.embedding(self.symbols(waveforms, lengths))
        if augment is not None:
            time, channels = augment_masks(augment, frame_lengths, size, self.dim, seed=seed)
            hidden = torch.where(time[..., None], self.mask_embedding, hidden).masked_fill(channels[:, None], 0.0)
        real = frames_mask(frame_lengths, size)[..., None]
        hidden = hidden * real
        for block in self.blocks:
            hidden = block(hidden, real)
        return hidden, frame_lengths

    @torch.no_grad()
    def symbols(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Return the ``(B, S)`` symbols of the frames of ``(B, T)`` waveforms, 0 on padding.

        Each row is computed by itself, so that neighbours cannot move a frame to another unit.
        """
        found = torch.zeros(len(waveforms), frame_count(waveforms.shape[1]), dtype=torch.long)
        for row, length in enumerate(lengths.tolist()):
            symbols = self._symbols_of(waveforms[row, :length].float().cpu())
            found[row, : len(symbols)] = symbols
        return found.to(waveforms.device)

    def _symbols_of(self, samples: Tensor) -> Tensor:
        key = row_key(samples)
        if (known := self._known.get(key)) is not None:
            return known
        units = self.inventory.units(samples.numpy())
        symbols = torch.from_numpy(units if self._pieces is None else self._piece_frames(units))
        if self._kept_frames + len(symbols) <= _KEPT_FRAMES:
            self._known[key] = symbols
            self._kept_frames += len(symbols)
        return symbols

    def _piece_frames(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the piece in which each frame's run of units lies."""
        assert self._pieces is not None
        pieces = self._pieces.encode_ids(merged(units).tolist())
        runs_of = [len(self._pieces.decode_ids([piece])) for piece in pieces]
        frames: NDArray[np.int64] = np.repeat(np.repeat(pieces, runs_of), [run.frames for run in runs(units)])
        return frames.astype(np.int64)

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the inventory's tensors and what :func:`restored_inventory` needs besides the weights."""
        tensors = {f"{PREFIX}{name}": tensor for name, tensor in self.inventory.tensors.items()}
        return tensors, {"reads": self.reads, "inventory": self.inventory.header}


def restored_inventory(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Units:
    """Return the inventory that :meth:`UnitNetwork.export` stored."""
    stored = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    return Units(stored, header["inventory"])
