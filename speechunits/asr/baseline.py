"""The baseline without pretraining: a small network on log-mel, the strongest simple one for minutes of labels.

Convolutions see a fifth of a second to either side, which is what a character sounds like, and leave the all-blank
plateau of CTC after far fewer updates than a transformer or a recurrent network of the same size (see LOG).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.asr.masks import augment_masks
from speechunits.config import AugmentConfig
from speechunits.encoder.convolution import FrameConvolution
from speechunits.encoder.dropout import Dropout
from speechunits.encoder.frontend import normalize
from speechunits.features.mel import LogMel, mel_frame_counts
from speechunits.frames import FRAME_RATE_HZ, frame_counts, frames_mask


class LogMelNetwork(nn.Module):
    """Log-mel at 100 Hz, normalised over the window, SpecAugment → two convolutions to 50 Hz → convolution blocks."""

    def __init__(
        self, *, bins: int = 80, dim: int = 256, blocks: int = 4, kernel: int = 15, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.dim = dim
        self.features = LogMel(bins)
        self.first = FrameConvolution(bins, dim, 5, padding=2)
        self.first_norm = nn.LayerNorm(dim)
        self.second = FrameConvolution(dim, dim, 3, stride=2, padding=1)
        self.second_norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(ConvolutionBlock(dim, kernel, dropout) for _ in range(blocks))

    def flops(self, frames: int) -> float:
        """Return the FLOPs of a forward pass over a row of ``frames`` frames: 2 a weight of a matrix and frame.

        The first convolution runs at 100 Hz, all else at 50 Hz.
        """
        weights = sum(parameter.numel() for parameter in self.parameters() if parameter.dim() > 1)
        return 2.0 * frames * (weights + self.first.weight.numel())

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *,
        augment: AugmentConfig | None = None, seed: int = 0, mel: Tensor | None = None, beside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return ``(B, S, D)`` features and ``(B,)`` frame counts of ``(B, T)`` waveforms; ``augment`` masks them.

        ``mel`` is their ``(B, M, bins)`` log-mel where it has been computed already; ``beside``, ``(B, S, D)``, is
        added to what the blocks hear.
        """
        mel_lengths = mel_frame_counts(lengths)
        mel = normalize(self.features(waveforms, lengths)[0] if mel is None else mel, mel_lengths)
        if augment is not None:
            time, bins = augment_masks(augment, mel_lengths, *mel.shape[1:], rate_hz=2 * FRAME_RATE_HZ, seed=seed)
            mel = mel.masked_fill(time[..., None] | bins[:, None, :], 0.0)  # zero is the mean of a bin
        frame_lengths = frame_counts(lengths)
        mel_real = frames_mask(mel_lengths, mel.shape[1])[..., None]
        hidden = F.gelu(self.first_norm(self.first(mel))) * mel_real
        hidden = self.second(hidden)
        real = frames_mask(frame_lengths, hidden.shape[1])[..., None]
        hidden = F.gelu(self.second_norm(hidden)) * real
        if beside is not None:
            hidden = hidden + beside * real
        for block in self.blocks:
            hidden = block(hidden, real)
        return hidden, frame_lengths


class ConvolutionBlock(nn.Module):
    """Residual: gated projection, convolution of each channel over time, projection (Gulati et al. 2020, fig. 2).

    Layer norm in place of the batch norm there: an utterance must not depend on its batch.
    """

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gated = nn.Linear(dim, 2 * dim)
        self.convolution = FrameConvolution(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Map ``(B, S, D)`` to the same; ``(B, S, 1)`` ``real`` is false on padding, which stays zero."""
        inner = F.glu(self.gated(self.norm(hidden)), dim=-1) * real
        inner = self.output(F.silu(self.inner_norm(self.convolution(inner))))
        output: Tensor = (hidden + self.dropout(inner)) * real
        return output
