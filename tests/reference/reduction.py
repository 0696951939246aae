"""Slow oracles of error rates and the reduction factor, written from their definitions."""

from __future__ import annotations

import math


def edit_distance(reference, hypothesis) -> int:
    """Wagner & Fischer 1974: the whole table."""
    table = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    for row in range(len(reference) + 1):
        for column in range(len(hypothesis) + 1):
            if row == 0 or column == 0:
                table[row][column] = row + column
                continue
            substitution = table[row - 1][column - 1] + (reference[row - 1] != hypothesis[column - 1])
            table[row][column] = min(substitution, table[row - 1][column] + 1, table[row][column - 1] + 1)
    return table[-1][-1]


def pool_adjacent_violators(values) -> list[float]:
    """Least-squares non-increasing fit by pooling blocks until none rises."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and sum(blocks[-1]) / len(blocks[-1]) > sum(blocks[-2]) / len(blocks[-2]):
            last = blocks.pop()
            blocks[-1].extend(last)
    return [sum(block) / len(block) for block in blocks for _ in block]


def minutes_to_reach(minutes, rates, level) -> float:
    """Return where the isotonic curve over ln minutes first reaches ``level``; clipped to the ends."""
    fit = pool_adjacent_violators(rates)
    if fit[0] <= level:
        return minutes[0]
    for index in range(1, len(fit)):
        if fit[index] <= level:
            share = (fit[index - 1] - level) / (fit[index - 1] - fit[index])
            left, right = math.log(minutes[index - 1]), math.log(minutes[index])
            return math.exp(left + share * (right - left))
    return minutes[-1]
