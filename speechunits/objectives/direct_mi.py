"""Direct mutual information coding (McAllester 2018, "Information theoretic co-training", and his TTIC 31230 slides).

x is the context, z_y a symbol of the target y, and both networks raise I(x; z_y) ≥ H(z_y) − cross-entropy by
−ln P_Ψ(z_y | z_x) + ln P̂(z_y): predictable from the context, and no more frequent than need be.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from speechunits.objectives.chosen import histogram
from speechunits.objectives.loss import Loss
from speechunits.objectives.precision import at_least_fp32

_FLOOR = 1e-8
"""Probability below which a symbol's marginal does not fall: its logarithm stays finite."""


def direct_mi_loss(
    context: Tensor,
    targets: Tensor,
    marginal: Tensor,
    speech: Tensor,
    *,
    gradient: Literal["expectation", "straight_through"],
    real: Tensor | None = None,
) -> Loss:
    """Return Σ_n E_{z ~ p(z | y_n)} [−ln P_Ψ(z | x_n) + ln P̂(z)]: minus the information, where P̂ is the marginal.

    Since P̂ is detached and probabilities sum to one, the gradient of its term is that of −H(z) where P̂ is the mean of
    p(z | y). The value is no bound: a stale P̂ overstates it. What is reported comes from held-out symbols instead.

    Parameters
    ----------
    context
        ``(N, K)`` logits of P_Ψ(z | x).
    targets
        ``(N, K)`` logits of p(z | y).
    marginal
        ``(K,)`` or ``(N, K)`` probabilities P̂.
    speech
        ``(N,)``, true where the frame is not silent.
    gradient
        ``expectation``: over p(z | y). ``straight_through``: the most probable symbol forward, p(z | y) backward.

    real
        ``(N,)``, true where the frame counts; None: everywhere.

    ``metrics["loss"]`` is the cross-entropy of the most probable symbols. Histograms, ``(1, K)`` each: ``targets``,
    those symbols, and ``speech``, those of non-silent frames.
    """
    real = torch.ones_like(speech) if real is None else real
    symbols, kinds = targets.detach().argmax(dim=-1), targets.shape[-1]
    with torch.autocast(context.device.type, enabled=False):
        chosen = at_least_fp32(targets).softmax(dim=-1)
        predicted = at_least_fp32(context).log_softmax(dim=-1)
        if gradient == "straight_through":
            hard = torch.zeros_like(chosen).scatter_(-1, symbols[:, None], 1.0)
            chosen = hard - chosen.detach() + chosen
        frequent = at_least_fp32(marginal).detach().clamp(min=_FLOOR).log()
        total = (chosen * (frequent - predicted) * real[:, None]).sum()
        told = (torch.gather(predicted.detach(), 1, symbols[:, None])[:, 0] * real).sum()
    count = real.sum()
    right = ((predicted.detach().argmax(dim=-1) == symbols) & real).sum()
    histograms = {
        "targets": histogram(symbols, real, kinds)[None],
        "speech": histogram(symbols, speech & real, kinds)[None],
    }
    return Loss(total, count, {"loss": (-told, count), "accuracy": (right, count)}, histograms)


@torch.no_grad()
def updated_marginal(marginal: Tensor, sums: Tensor, *, decay: float) -> Tensor:
    """Return the moving average P̂ ← decay · P̂ + (1 − decay) · (mean of p(z | y)), row by row.

    ``marginal`` is ``(R, K)``, ``sums`` ``(R, K)`` the summed p(z | y) of a batch (of all ranks); a row without frames
    stays as it is.
    """
    mass = sums.sum(dim=-1, keepdim=True)
    blended = decay * marginal + (1 - decay) * sums / mass.clamp(min=1e-12)
    return torch.where(mass > 0, blended, marginal)
