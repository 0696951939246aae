"""The objective of HuBERT (Hsu et al. 2021, equation 3 and §II-B): the unit of a masked frame from its context.

x is the masked utterance, y the unit of a masked frame, and the bound is I(x; y) ≥ H(y) − cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.chosen import histogram
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


def masked_prediction_loss(
    context: Tensor,
    embeddings: Tensor,
    targets: Tensor,
    speech: Tensor,
    *,
    temperature: float,
    chosen: Tensor | None = None,
    weights: Tensor | None = None,
) -> Loss:
    """Return the cross-entropy of units whose scores are cosines.

    Frames are left out by weight, not by indexing: products keep one shape from step to step (kernels are made once),
    and no device waits to be asked how many frames there are.

    Parameters
    ----------
    context
        ``(N, D)`` projected context, one row a frame that counts.
    embeddings
        ``(K, D)``, one for each unit.
    targets
        ``(N,)`` int64 units within [0, K); anything where the frame neither counts nor weighs.
    speech
        ``(N,)``, true where the frame is not silent.
    temperature
        τ: cosines are divided by it.
    chosen
        ``(N,)``, true where the frame counts: in ``count``, metrics and histograms; None: everywhere.
    weights
        ``(N,)``: of each frame in ``sum``; None: 1 where it counts, else 0.

    Histograms, ``(1, K)`` each: ``targets``, ``predictions``, and ``speech``, the predictions of non-silent frames.
    """
    chosen = torch.ones_like(speech) if chosen is None else chosen
    targets = targets.clamp(min=0)
    with torch.autocast(context.device.type, enabled=False):
        context = F.normalize(at_least_fp32(context), dim=-1)
        embeddings = F.normalize(at_least_fp32(embeddings), dim=-1)
        logits = context @ embeddings.T / temperature
        losses = F.cross_entropy(logits, targets, reduction="none")
        counted = (losses.detach() * chosen).sum()
        total = (losses * (chosen if weights is None else weights)).sum()
    count = chosen.sum()
    predictions = logits.detach().argmax(dim=-1)
    metrics = {"loss": (counted, count), "accuracy": (((predictions == targets) & chosen).sum(), count)}
    histograms = {
        "targets": histogram(targets, chosen, embeddings.shape[0])[None],
        "predictions": histogram(predictions, chosen, embeddings.shape[0])[None],
        "speech": histogram(predictions, chosen & speech, embeddings.shape[0])[None],
    }
    return Loss(total, count, metrics, histograms)
