"""Connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32

BLANK = 0
"""Index of the blank in every token set."""


def ctc(logits: Tensor, frame_lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Loss:
    """Return Σ −ln p(tokens | frames) over the batch, in nats; p sums over every alignment (equation 3).

    ``logits`` are ``(B, S, V)`` with the blank at 0 and ``(B,)`` ``frame_lengths``; ``tokens`` are ``(B, L)`` with
    ``(B,)`` ``token_lengths``. The count is the number of tokens. A row with no alignment (more tokens and repeats
    than frames) has p = 0: it adds nothing to sum, count or gradient, and shows in the metric ``unaligned``, the share
    of such rows. The other metrics are ``loss`` (nats a token) and ``blank`` (share of frames whose best symbol is it).
    """
    # In bf16 the sum over hundreds of frames loses the digits that tell alignments apart.
    log_probabilities = at_least_fp32(logits).log_softmax(dim=-1)
    losses = F.ctc_loss(
        log_probabilities.transpose(0, 1), tokens, frame_lengths, token_lengths,
        blank=BLANK, reduction="none", zero_infinity=True,
    )  # fmt: skip
    aligned = minimum_frames(tokens, token_lengths) <= frame_lengths
    total = losses.sum()
    count = (token_lengths * aligned).sum()
    with torch.no_grad():
        frames = torch.arange(logits.shape[1], device=logits.device)[None, :] < frame_lengths[:, None]
        blanks = (logits.argmax(dim=-1) == BLANK) & frames
        metrics = {
            "loss": (total.detach(), count),
            "blank": (blanks.sum(), frames.sum()),
            "unaligned": ((~aligned).sum(), torch.ones_like(token_lengths).sum()),
        }
    return Loss(sum=total, count=count, metrics=metrics, histograms={})


def minimum_frames(tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Return the ``(B,)`` fewest frames that can spell ``(B, L)`` tokens: equal neighbours need a blank between."""
    repeats = tokens[:, 1:] == tokens[:, :-1]
    inside = torch.arange(1, tokens.shape[1], device=tokens.device)[None, :] < token_lengths[:, None]
    return token_lengths + (repeats & inside).sum(dim=1)
