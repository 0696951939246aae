"""When a representation has collapsed: thresholds, and the patience before a training is stopped."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from speechunits.objectives.bounds import entropy_bits, perplexity

EVALUATIONS = 3
"""Consecutive held-out evaluations that must show a fault."""
GRACE = 0.2
"""Share of the budget in which nothing is held against a run."""


def inventory_report(counts: Tensor, speech_counts: Tensor) -> dict[str, float]:
    """Return how an inventory is used.

    Parameters
    ----------
    counts
        ``(G, V)`` how often each entry of each group was chosen.
    speech_counts
        The same over non-silent frames.

    Returns
    -------
    ``perplexity``: sum over the groups, G if each uses one entry; ``active``: entries in use, all groups together;
    ``top_share``: share of non-silent frames on the most frequent entry, in the group where that is least (one symbol,
    a combination of entries, has at most this share); ``entropy_bits``: sum over the groups.
    """
    totals = speech_counts.sum(dim=-1).clamp(min=1)
    return {
        "perplexity": float(perplexity(counts).sum()),
        "active": float((counts > 0).sum()),
        "top_share": float((speech_counts.amax(dim=-1) / totals).min()),
        "entropy_bits": float(entropy_bits(counts).sum()),
    }


def find_collapse(report: Mapping[str, float], groups: int = 1) -> str | None:
    """Name the fault that a held-out report shows, or return None.

    ``report`` holds ``loss_bits`` and ``chance_bits``; where there are symbols ``perplexity`` and ``top_share``; where
    there are negatives ``negative_is_positive``.
    """
    if report.get("perplexity", float("inf")) < 1.1 * groups:
        return (
            f"perplexity must stay above {1.1 * groups:g}, but is {report['perplexity']:.2f} instead: each of the "
            f"{groups} group(s) uses one entry"
        )
    if report.get("negative_is_positive", 0.0) > 0.5:
        return f"{report['negative_is_positive']:.0%} of the negatives equal their positive (at most 50 % may)"
    if report.get("top_share", 0.0) > 0.9:
        return f"one symbol has {report['top_share']:.0%} of the non-silent frames (at most 90 % may)"
    if report["loss_bits"] > 0.99 * report["chance_bits"]:
        near = "within 1 % of" if report["loss_bits"] < report["chance_bits"] else "not below"
        return f"the held-out loss of {report['loss_bits']:.3f} bits is {near} chance, {report['chance_bits']:.3f} bits"
    return None


class CollapseWatch:
    """Counts the consecutive held-out evaluations with a fault, after warm-up and the first fifth of the budget."""

    def __init__(self, warmup_steps: int, total_steps: int) -> None:
        self.first_step = max(warmup_steps, GRACE * total_steps)
        self.faults = 0

    def update(self, step: int, fault: str | None) -> str | None:
        """Take note of an evaluation at ``step``; return why training must stop, or None."""
        self.faults = self.faults + 1 if fault is not None and step > self.first_step else 0
        if fault is None or self.faults < EVALUATIONS:
            return None
        return f"collapsed ({EVALUATIONS} evaluations in a row): {fault}"

    def state(self) -> dict[str, int]:
        """Return what a resumed run must know."""
        return {"faults": self.faults}

    def load(self, state: Mapping[str, int]) -> None:
        """Continue from a saved state."""
        self.faults = state["faults"]
