"""Slow oracles of error rates and the reduction factor, written from their definitions."""

from __future__ import annotations

import math
import statistics


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


def reduction_interval(budget, pretrained, baselines, lengths, draws) -> tuple[float, float, float]:
    """Return factor, low and high: exp(mean ± t √(s² / n + Var_boot)) of ln f over three seeds.

    ``pretrained`` are the errors by seed and utterance, ``baselines`` those by seed, minutes and utterance, ``draws``
    the utterances of each resample: the same for all seeds and sides.
    """
    everything = list(range(len(lengths)))
    logs = []
    for own, curve in zip(pretrained, baselines, strict=True):
        minutes = sorted(curve)
        logs.append([])
        for drawn in [everything, *draws]:
            total = sum(lengths[at] for at in drawn)
            rates = [sum(curve[size][at] for at in drawn) / total for size in minutes]
            level = sum(own[at] for at in drawn) / total
            logs[-1].append(math.log(minutes_to_reach(minutes, rates, level) / budget))
    count = len(logs)
    assert count == 3
    mean = sum(row[0] for row in logs) / count
    between = statistics.variance(row[0] for row in logs) / count
    within = statistics.variance(sum(column) / count for column in list(zip(*logs, strict=True))[1:])
    # Student's t with two degrees of freedom, .975.
    margin = 4.302652729911275 * math.sqrt(between + within)
    return math.exp(mean), math.exp(mean - margin), math.exp(mean + margin)
