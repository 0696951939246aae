"""What held-out sums say, for the two families of bounds."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from speechunits.objectives.bounds import bits, direct_bits, entropy_bits
from speechunits.objectives.collapse import inventory_report


def symbols_report(metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:
    """Return loss, chance and H − Ĥ in bits, accuracy, and how symbols are used.

    ``histograms["targets"]`` is ``(G, V)``; with several groups the figures are means over them.
    """
    targets = histograms["targets"]
    chance = float(entropy_bits(targets).mean())
    loss = bits(metrics["loss"])
    return {
        "loss_bits": loss,
        "chance_bits": chance,
        "bits": direct_bits(chance, loss),
        "accuracy": metrics["accuracy"],
        **inventory_report(targets, histograms["speech"]),
    }


def contrast_report(metrics: Mapping[str, float], chance_nats: float) -> dict[str, float]:
    """Return loss, chance ln N and ln N − L in bits, and accuracy."""
    loss, chance = bits(metrics["loss"]), bits(chance_nats)
    return {
        "loss_bits": loss,
        "chance_bits": chance,
        "bits": chance - loss,
        "accuracy": metrics["accuracy"],
    }
