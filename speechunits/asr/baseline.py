"""The baseline without pretraining: a small network on log-mel, the strongest simple one for minutes of labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechunits.asr.masks import augment_masks
from speechunits.config import AugmentConfig
from speechunits.features.mel import LogMel
from speechunits.frames import FRAME_RATE_HZ, frame_counts, frames_mask


class LogMelNetwork(nn.Module):
    """Log-mel at 100 Hz, normalised over the window, SpecAugment → two convolutions to 50 Hz → bidirectional GRU."""

    def __init__(
        self, *, bins: int = 80, channels: int = 192, hidden: int = 192, layers: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.features = LogMel(bins)
        self.dim = 2 * hidden
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(bins, channels, 5, padding=2), nn.Conv1d(channels, channels, 3, stride=2, padding=1)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(
            channels, hidden, num_layers=layers, batch_first=True, bidirectional=True, dropout=dropout
        )

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *, augment: AugmentConfig | None = None, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return ``(B, S, D)`` features and ``(B,)`` frame counts of ``(B, T)`` waveforms; ``augment`` masks them."""
        mel, mel_lengths = self.features(waveforms, lengths)
        mel = normalize(mel, mel_lengths)
        if augment is not None:
            time, bins = augment_masks(augment, mel_lengths, mel.shape[2], rate_hz=2 * FRAME_RATE_HZ, seed=seed)
            mel = mel.masked_fill(time[:, : mel.shape[1], None] | bins[:, None, :], 0.0)
        frame_lengths = frame_counts(lengths)
        hidden = mel
        for convolution, norm, counts in zip(self.convolutions, self.norms, (mel_lengths, frame_lengths), strict=True):
            hidden = norm(convolution(hidden.transpose(1, 2)).transpose(1, 2))
            hidden = nn.functional.gelu(hidden) * frames_mask(counts, hidden.shape[1])[..., None]
        hidden = self.dropout(hidden)
        # A row without a frame still needs one step; its output is past its length, where nobody looks.
        packed = pack_padded_sequence(hidden, frame_lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=hidden.shape[1])
        return output, frame_lengths


def normalize(features: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(B, M, F)`` features with mean 0 and variance 1 a row and bin over the real frames, 0 beyond them."""
    mask = frames_mask(lengths, features.shape[1])[..., None]
    count = lengths.clamp(min=1)[:, None, None]
    mean = (features * mask).sum(dim=1, keepdim=True) / count
    centered = (features - mean) * mask
    variance = centered.square().sum(dim=1, keepdim=True) / count
    return centered * torch.rsqrt(variance + 1e-5)
