"""What a frozen encoder makes of recordings, kept: training hears the same few minutes a hundred times."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.audio.sampler import padded_samples
from speechunits.encoder.encoder import Encoder
from speechunits.features.mel import mel_frame_count
from speechunits.frames import frame_count, frame_counts
from speechunits.objectives.chosen import waits_for_counts


class FrozenLayers:
    """The layers of an encoder that neither learns nor drops out, each normalised without learned scales.

    On CPUs the rows that come again are not encoded again, whatever batch they come in: they are known by their
    samples. ``limit_bytes`` bounds what is kept; the first to come stay, since all come equally often. What is kept
    decides nothing, nor does where a training was interrupted: in fp32, where sums differ in their last bits from batch
    to batch, each row is encoded alone, padded to a length of its own. On another device every row is encoded: to learn
    whether it is known would cost more than to encode it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: dict[bytes, Tensor] = {}
        """``(L, S, D)`` layers of a row."""
        self.kept_bytes = 0

    @torch.no_grad()
    def of(self, encoder: Encoder, waveforms: Tensor, lengths: Tensor, mel: Tensor | None) -> Tensor:
        """Return ``(B, L, S, D)`` layers of ``(B, T)`` samples, zero beyond each of the ``(B,)`` lengths.

        ``mel`` is their ``(B, M, bins)`` log-mel where it has been computed already.
        """
        training = encoder.training
        encoder.eval()
        try:
            if waits_for_counts(waveforms.device):
                return _encoded(encoder, waveforms, lengths, mel)
            return self._remembered(encoder, waveforms, lengths, mel)
        finally:
            encoder.train(training)

    def forget(self) -> None:
        """Keep nothing: the encoder is about to change."""
        self._kept.clear()
        self.kept_bytes = 0

    def _remembered(self, encoder: Encoder, waveforms: Tensor, lengths: Tensor, mel: Tensor | None) -> Tensor:
        keys = [row_key(row[:length]) for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        rows = {key: self._kept[key] for key in keys if key in self._kept}
        new = [place for place, key in enumerate(keys) if key not in rows]
        if new:
            # bf16 rounds the sums of any batch to the same, and batches are faster.
            encode = _encoded if torch.is_autocast_enabled(waveforms.device.type) else _each_alone
            encoded = encode(encoder, waveforms[new], lengths[new], None if mel is None else mel[new])
            for place, row, frames in zip(new, encoded, frame_counts(lengths[new]).tolist(), strict=True):
                rows[keys[place]] = self._keep(keys[place], row[:, :frames])
        first = rows[keys[0]]
        layers = first.new_zeros(len(keys), first.shape[0], frame_count(waveforms.shape[1]), first.shape[2])
        for filled, key in zip(layers, keys, strict=True):
            filled[:, : rows[key].shape[1]] = rows[key]
        return layers

    def _keep(self, key: bytes, row: Tensor) -> Tensor:
        """Keep the layers of a row where they fit; return them."""
        if key not in self._kept and self.kept_bytes + row.nbytes <= self._limit_bytes:
            self._kept[key] = row.clone()  # a slice would keep its batch
            self.kept_bytes += row.nbytes
        return row


def row_key(samples: Tensor) -> bytes:
    """Return what ``(T,)`` samples on the CPU are known by."""
    return hashlib.blake2b(samples.contiguous().numpy().data, digest_size=16).digest()


def _encoded(encoder: Encoder, waveforms: Tensor, lengths: Tensor, mel: Tensor | None) -> Tensor:
    device = waveforms.device.type
    layers = torch.stack(normalized(encoder(waveforms, lengths, mel=mel).layers), dim=1)
    return layers.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else layers


def _each_alone(encoder: Encoder, waveforms: Tensor, lengths: Tensor, mel: Tensor | None) -> list[Tensor]:
    """Return the ``(L, S, D)`` layers of each row, which depend on no other, nor on how far its batch was padded."""
    rows = []
    for place, length in enumerate(lengths.tolist()):
        samples, own = padded_samples(length), slice(place, place + 1)
        own_mel = None if mel is None else _resized(mel[own], mel_frame_count(samples))
        rows.append(_encoded(encoder, _resized(waveforms[own], samples), lengths[own], own_mel)[0])
    return rows


def _resized(row: Tensor, size: int) -> Tensor:
    """Return ``(1, size, …)``: the beginning of ``(1, T, …)``, zeros beyond it."""
    resized = row.new_zeros((1, size, *row.shape[2:]))
    kept = min(size, row.shape[1])
    resized[:, :kept] = row[:, :kept]
    return resized


def normalized(layers: tuple[Tensor, ...]) -> list[Tensor]:
    """Return ``(B, S, D)`` layers in fp32 with mean 0 and variance 1 a frame: layers differ in size, by a lot."""
    return [F.layer_norm(layer.float(), layer.shape[-1:]) for layer in layers]
