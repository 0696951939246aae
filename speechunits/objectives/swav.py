"""The objective of SwAV (Caron et al. 2020): the assignment of one view predicted from the other.

x and y are two views of a frame, z_y the prototype of the second, and the bound is I(x; z_y) ≥ H(z_y) − cross-entropy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speechunits.objectives.chosen import histogram
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int, real: Tensor | None = None) -> Tensor:
    """Return ``(N, K)`` soft assignments, each row summing to 1, that use all prototypes about equally (§3.1, eq. 3-5).

    ``scores`` are the ``(N, K)`` cosines with the prototypes; where ``(N,)`` ``real`` is false a row takes no part and
    gets zeros. Alternates between columns and rows in logarithms and at
    least fp32: exp(score / ε) overflows in half precision.
    """
    with torch.autocast(scores.device.type, enabled=False):
        log_q = at_least_fp32(scores) / epsilon
        if log_q.shape[0] == 0:
            return log_q
        # A row without mass stays so, whatever the number of rows below: it is a constant that the columns take out.
        real = torch.ones_like(log_q[:, 0], dtype=torch.bool) if real is None else real
        absent = ~real[:, None]
        log_q = log_q.masked_fill(absent, float("-inf"))
        for _ in range(iterations):
            log_q = log_q - torch.logsumexp(log_q, dim=0, keepdim=True) - math.log(log_q.shape[1])
            rows = torch.logsumexp(log_q, dim=1, keepdim=True).masked_fill(absent, 0.0)
            log_q = log_q - rows - math.log(log_q.shape[0])
        return (log_q + math.log(log_q.shape[0])).exp().masked_fill(absent, 0.0)


def swapped_prediction_loss(
    first: Tensor,
    second: Tensor,
    first_codes: Tensor,
    second_codes: Tensor,
    *,
    temperature: float,
    speech: Tensor,
    real: Tensor | None = None,
) -> Loss:
    """Return −Σ q_second ln p_first − Σ q_first ln p_second (equation 2), p the softmax of scores over τ.

    Parameters
    ----------
    first, second
        ``(N, K)`` cosines of the two views with the prototypes; rows with the same number are a pair.
    first_codes, second_codes
        ``(N, K)`` their assignments, without gradient.
    temperature
        τ.
    speech
        ``(N,)``, true where the frame is not silent.
    real
        ``(N,)``, true where there is a pair (elsewhere codes are zeros); None: everywhere.

    Reported, without Sinkhorn's balance: ``metrics["loss"]``, the cross-entropy of the other view's most similar
    prototype. Histograms, ``(1, K)`` each: ``targets``, those prototypes, and ``speech``, those of non-silent frames.
    """
    with torch.autocast(first.device.type, enabled=False):
        predicted = [(at_least_fp32(view) / temperature).log_softmax(dim=-1) for view in (first, second)]
        total = -(second_codes * predicted[0]).sum() - (first_codes * predicted[1]).sum()
    real = torch.ones_like(speech) if real is None else real
    symbols = first.detach().argmax(dim=-1), second.detach().argmax(dim=-1)
    told = [
        torch.gather(view.detach(), 1, symbol[:, None]) for view, symbol in zip(predicted, symbols[::-1], strict=True)
    ]
    count = 2 * real.sum()
    right = ((symbols[0] == symbols[1]) & real).sum() * 2
    both, kinds = torch.cat(symbols), first.shape[1]
    metrics = {"loss": (-(torch.cat(told)[:, 0] * real.repeat(2)).sum(), count), "accuracy": (right, count)}
    histograms = {
        "targets": histogram(both, real.repeat(2), kinds)[None],
        "speech": histogram(both, (speech & real).repeat(2), kinds)[None],
    }
    return Loss(total, count, metrics, histograms)
