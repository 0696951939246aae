"""The objective of HuBERT (Hsu et al. 2021, equation 3 and §II-B): the unit of a masked frame from its context.

x is the masked utterance, y the unit of a masked frame, and the bound is I(x; y) ≥ H(y) − cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


def masked_prediction_loss(
    context: Tensor, embeddings: Tensor, targets: Tensor, speech: Tensor, *, temperature: float
) -> Loss:
    """Return the cross-entropy of units whose scores are cosines.

    Parameters
    ----------
    context
        ``(N, D)`` projected context, one row a frame that counts.
    embeddings
        ``(K, D)``, one for each unit.
    targets
        ``(N,)`` int64 units within [0, K).
    speech
        ``(N,)``, true where the frame is not silent.
    temperature
        τ: cosines are divided by it.

    Histograms, ``(1, K)`` each: ``targets``, ``predictions``, and ``speech``, the predictions of non-silent frames.
    """
    clusters = embeddings.shape[0]
    with torch.autocast(context.device.type, enabled=False):
        context = F.normalize(at_least_fp32(context), dim=-1)
        embeddings = F.normalize(at_least_fp32(embeddings), dim=-1)
        logits = context @ embeddings.T / temperature
        total = F.cross_entropy(logits, targets, reduction="sum")
    count = torch.tensor(targets.shape[0], device=targets.device)
    predictions = logits.detach().argmax(dim=-1)
    metrics = {"loss": (total.detach(), count), "accuracy": ((predictions == targets).sum(), count)}
    histograms = {
        "targets": torch.bincount(targets, minlength=clusters)[None],
        "predictions": torch.bincount(predictions, minlength=clusters)[None],
        "speech": torch.bincount(predictions[speech], minlength=clusters)[None],
    }
    return Loss(total, count, metrics, histograms)
