"""Slow oracle of boundary scores: the best matching by trying every one."""

from __future__ import annotations


def best_matching(found, true, tolerance):
    if not found:
        return 0
    rest = list(found[1:])
    best = best_matching(rest, true, tolerance)
    for index, edge in enumerate(true):
        if abs(found[0] - edge) <= tolerance + 1e-6:
            best = max(best, 1 + best_matching(rest, [*true[:index], *true[index + 1 :]], tolerance))
    return best


def r_value(hit_rate_percent, over_segmentation_percent):
    """Equations 2 to 4 of Räsänen, Laine and Altosaar 2009, in per cent as there."""
    first = ((100 - hit_rate_percent) ** 2 + over_segmentation_percent**2) ** 0.5
    second = (-over_segmentation_percent + hit_rate_percent - 100) / 2**0.5
    return 1 - (abs(first) + abs(second)) / 200
