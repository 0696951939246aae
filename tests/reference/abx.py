"""Slow oracles of ABX, from Schatz et al. 2013 and the ZeroSpeech evaluation plans: three loops, nothing shared."""

from __future__ import annotations

import math


def frame_distance(x, y, kind) -> float:
    if kind == "euclidean":
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
    if kind == "kl":
        return 0.5 * sum((a - b) * (math.log(a + 1e-6) - math.log(b + 1e-6)) for a, b in zip(x, y, strict=True))
    product = sum(a * b for a, b in zip(x, y, strict=True))
    norms = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    cosine = max(-1.0, min(1.0, product / norms)) if norms else 0.0
    return math.acos(cosine) / math.pi if kind == "angular" else 1 - cosine


def warped(first, second, kind) -> float:
    """Mean distance along the cheapest path; ties: the diagonal step, then the shorter path."""
    table = {}
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            here = frame_distance(x, y, kind)
            before = [table[place] for place in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if place in table]
            if not before:
                table[i, j] = (here, 1)
                continue
            cheapest = min(cost for cost, _ in before)
            diagonal = table.get((i - 1, j - 1))
            if diagonal is not None and diagonal[0] == cheapest:
                steps = diagonal[1]
            else:
                steps = min(steps for cost, steps in before if cost == cheapest)
            table[i, j] = (cheapest + here, steps + 1)
    cost, steps = table[len(first) - 1, len(second) - 1]
    return cost / steps


def abx(tokens, distance, *, speaker, context) -> tuple[float, float]:
    """Return error and symmetrised error of ``(phone, context, speaker, value)`` tokens, all triples taken."""
    cells: dict[tuple, list[float]] = {}
    for x, (phone_x, context_x, speaker_x, value_x) in enumerate(tokens):
        for a, (phone_a, context_a, speaker_a, value_a) in enumerate(tokens):
            if a == x or phone_a != phone_x:
                continue
            if (speaker_a == speaker_x) != (speaker == "within"):
                continue
            if context == "within" and context_a != context_x:
                continue
            for phone_b, context_b, speaker_b, value_b in tokens:
                if phone_b == phone_a or speaker_b != speaker_a or (context == "within" and context_b != context_x):
                    continue
                near, far = distance(value_x, value_a), distance(value_x, value_b)
                where = (phone_a, phone_b, speaker_a, speaker_x, context_x if context == "within" else None)
                cells.setdefault(where, []).append(1.0 if near > far else 0.5 if near == far else 0.0)
    by_speaker: dict[tuple, list[float]] = {}
    for (phone_a, phone_b, speaker_a, _, _), errors in cells.items():
        by_speaker.setdefault((phone_a, phone_b, speaker_a), []).append(sum(errors) / len(errors))
    by_pair: dict[tuple, list[float]] = {}
    for (phone_a, phone_b, _), errors in by_speaker.items():
        by_pair.setdefault((phone_a, phone_b), []).append(sum(errors) / len(errors))
    pairs = {pair: sum(errors) / len(errors) for pair, errors in by_pair.items()}
    either: dict[frozenset, list[float]] = {}
    for pair, error in pairs.items():
        either.setdefault(frozenset(pair), []).append(error)
    both = [sum(errors) / len(errors) for errors in either.values()]
    return sum(pairs.values()) / len(pairs), sum(both) / len(both)
