"""The objective of wav2vec 2.0 (Baevski et al. 2020): masked contrast, diversity, feature penalty.

x is the masked utterance, y the quantised latent of a masked frame, and the bound is I(x; y | utterance) ≥ ln N − L,
where negatives are drawn from all masked frames, the positive included: held out, but not in training, as in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.chosen import chosen_places
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


def sample_negatives(
    counts: Tensor, size: int, negatives: int, generator: torch.Generator, *, itself: bool = False
) -> Tensor:
    """Return ``(B, M, N)`` int64: for each masked frame, N others of its utterance, uniformly, with replacement.

    With ``itself`` N of all of them, the frame included. The bound asks for it, negatives being draws of the marginal:
    among the M − 1 others a context that knows its frame, I = ln M, would read ln N instead.

    Parameters
    ----------
    counts
        ``(B,)`` masked frames of each utterance; they come first among its ``size`` = M places.
    generator
        Source of randomness; on the device of ``counts``.

    Places at or beyond an utterance's count, and those of utterances with fewer than two masked frames, hold an index
    within [0, M) without meaning.
    """
    device = counts.device
    shape = (counts.shape[0], size, negatives)
    among = (counts if itself else counts - 1).clamp(min=1)[:, None, None]
    drawn = (torch.rand(shape, generator=generator, device=device) * among).long()
    # rand * n may round up to n; and the frame itself is skipped.
    drawn = torch.minimum(drawn, among - 1)
    if not itself:
        drawn = drawn + (drawn >= torch.arange(size, device=device)[None, :, None])
    return drawn.clamp(max=max(size - 1, 0))


def contrastive_loss(
    context: Tensor,
    targets: Tensor,
    negatives: Tensor,
    valid: Tensor,
    *,
    temperature: float,
    same: Tensor,
    mask_same: bool,
) -> Loss:
    """Return equation 3: picking the quantised latent of a masked frame among N others of its utterance.

    Parameters
    ----------
    context
        ``(B, M, D)`` projected context at the masked frames of each utterance.
    targets
        ``(B, M, D)`` projected quantised latents of the same frames.
    negatives
        ``(B, M, N)`` int64 places among the M of the same utterance.
    valid
        ``(B, M)``, true where there is a frame that counts.
    temperature
        κ: cosines are divided by it.
    same
        ``(B, M, N)``, true where the negative's codes equal the positive's.
    mask_same
        Leave such negatives out of ``sum`` (training). ``metrics["loss"]`` always keeps them: under a collapsed
        codebook every candidate is the same, and it must read ln(N + 1), which is no information. ``accuracy`` and
        ``negative_is_positive`` are about the negatives that are other frames.
    """
    with torch.autocast(context.device.type, enabled=False):
        context = F.normalize(at_least_fp32(context), dim=-1)
        targets = F.normalize(at_least_fp32(targets), dim=-1)
        # All pairs of an utterance by one product: far less memory than gathering N vectors for each frame.
        cosines = context @ targets.transpose(1, 2) / temperature
        places, real = chosen_places(valid)
        positive = torch.diagonal(cosines, dim1=1, dim2=2).flatten()[places]
        negative = torch.gather(cosines, 2, negatives).flatten(0, 1)[places]
        duplicate = same.flatten(0, 1)[places]
        itself = negatives.flatten(0, 1)[places] == (places % max(negatives.shape[1], 1))[:, None]
        logits = torch.cat((positive[:, None], negative), dim=1)
        kept = torch.logsumexp(logits.detach(), dim=1) - positive.detach()
        if mask_same:
            hidden = F.pad(duplicate, (1, 0))
            losses = torch.logsumexp(logits.masked_fill(hidden, float("-inf")), dim=1) - positive
        else:
            losses = torch.logsumexp(logits, dim=1) - positive
    count = valid.sum()
    # A tie is a miss: where all candidates are equal nothing was recognised.
    right = positive.detach() > negative.detach().masked_fill(itself, float("-inf")).amax(dim=1)
    other = ~itself & real[:, None]
    metrics = {
        "loss": ((kept * real).sum(), count),
        "accuracy": ((right & real).sum(), count),
        "negative_is_positive": ((duplicate & other).sum(), other.sum()),
    }
    return Loss((losses * real).sum(), count, metrics, {})


def diversity_loss(probabilities: Tensor, real: Tensor | None = None) -> Tensor:
    """Return how far from even the average use of the entries is, between 0 (even) and 1 − 1/V; a scalar.

    ``probabilities`` is ``(N, G, V)``; their average over N frames (those where ``(N,)`` ``real``) is p̄. Equation 4
    asks for a high entropy of each p̄; this is it in the form that wav2vec 2.0
    was trained with, 1 − Σ_g exp H(p̄_g) / GV, whose weight α = .1 it is.
    """
    with torch.autocast(probabilities.device.type, enabled=False):
        _, groups, entries = probabilities.shape
        real = torch.ones_like(probabilities[:, 0, 0], dtype=torch.bool) if real is None else real
        mean = (at_least_fp32(probabilities) * real[:, None, None]).sum(dim=0) / real.sum().clamp(min=1)
        entropy = -torch.special.xlogy(mean, mean + 1e-7).sum(dim=-1)
        distance: Tensor = 1 - entropy.exp().sum() / (groups * entries)
        return distance


def feature_penalty(squares: Tensor, frame_lengths: Tensor) -> Tensor:
    """Return the mean squared front-end output over the real frames, a scalar.

    ``squares`` is ``(B, S)``, the mean square of each frame, zero beyond each of the ``(B,)`` frame lengths.
    """
    return at_least_fp32(squares).sum() / frame_lengths.sum().clamp(min=1)
