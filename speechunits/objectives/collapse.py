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


def find_faults(report: Mapping[str, float], groups: int = 1) -> dict[str, str]:
    """Return the faults that a held-out report shows, by kind, each in words; none of a healthy one.

    ``report`` holds ``loss_bits`` and ``chance_bits``; where there are symbols ``perplexity`` and ``top_share``; where
    there are negatives ``negative_is_positive``.
    """
    faults = {}
    if report.get("perplexity", float("inf")) < 1.1 * groups:
        faults["perplexity"] = (
            f"perplexity must stay above {1.1 * groups:g}, but is {report['perplexity']:.2f} instead: each of the "
            f"{groups} group(s) uses one entry"
        )
    if report.get("negative_is_positive", 0.0) > 0.5:
        faults["negatives"] = (
            f"{report['negative_is_positive']:.0%} of the negatives equal their positive (at most 50 % may)"
        )
    if report.get("top_share", 0.0) > 0.9:
        faults["one symbol"] = f"one symbol has {report['top_share']:.0%} of the non-silent frames (at most 90 % may)"
    if report["loss_bits"] > 0.99 * report["chance_bits"]:
        near = "within 1 % of" if report["loss_bits"] < report["chance_bits"] else "not below"
        faults["chance"] = (
            f"the held-out loss of {report['loss_bits']:.3f} bits is {near} chance, {report['chance_bits']:.3f} bits"
        )
    return faults


class CollapseWatch:
    """Counts the consecutive held-out evaluations with each fault, after warm-up and the first fifth of the budget."""

    def __init__(self, warmup_steps: int, total_steps: int) -> None:
        self.first_step = max(warmup_steps, GRACE * total_steps)
        self.faults: dict[str, int] = {}
        """How many evaluations in a row have shown a fault, by its kind."""

    def update(self, step: int, faults: Mapping[str, str]) -> str | None:
        """Take note of what :func:`find_faults` said at ``step``; return why training must stop, or None."""
        held = faults if step > self.first_step else {}
        self.faults = {kind: self.faults.get(kind, 0) + 1 for kind in held}
        lasting = [held[kind] for kind, count in self.faults.items() if count >= EVALUATIONS]
        return f"collapsed ({EVALUATIONS} evaluations in a row): {lasting[0]}" if lasting else None
