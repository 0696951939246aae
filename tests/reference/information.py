"""Slow oracles for information measures, from the definitions, with dictionaries and loops."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

START = "start"


def entropy(symbols):
    counts = Counter(symbols)
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def mutual_information(left, right):
    total = len(left)
    joint, lefts, rights = Counter(zip(left, right, strict=True)), Counter(left), Counter(right)
    return sum(
        n / total * math.log2((n / total) / ((lefts[a] / total) * (rights[b] / total))) for (a, b), n in joint.items()
    )


class KneserNey:
    """Interpolated Kneser–Ney as in Chen and Goodman 1999, one discount an order, counts in dictionaries."""

    def __init__(self, sequences, clusters, order):
        self.clusters, self.order = clusters, order
        self.counts = [Counter() for _ in range(order + 1)]
        for sequence in sequences:
            padded = [START] * (order - 1) + list(sequence)
            for end in range(order - 1, len(padded)):
                self.counts[order][tuple(padded[end - order + 1 : end + 1])] += 1
        for n in range(order - 1, 0, -1):
            left = defaultdict(set)
            occurrences = Counter()
            for sequence in sequences:
                padded = [START] * (order - 1) + list(sequence)
                for end in range(order - 1, len(padded)):
                    gram = tuple(padded[end - n + 1 : end + 1])
                    left[gram].add(padded[end - n])
                    occurrences[gram] += 1
            for gram in occurrences:
                # A START may precede a START several times over: nothing else can, so raw counts are kept there.
                self.counts[n][gram] = occurrences[gram] if gram[0] == START else len(left[gram])
        self.discounts = [0.0]
        for n in range(1, order + 1):
            once = sum(c == 1 for c in self.counts[n].values())
            twice = sum(c == 2 for c in self.counts[n].values())
            self.discounts.append(once / (once + 2 * twice) if once and twice else 0.5)

    def probability(self, unit, history):
        padded = [START] * (self.order - 1) + list(history)
        p = 1 / self.clusters
        for n in range(1, self.order + 1):
            context = tuple(padded[len(padded) - (n - 1) :])
            following = {g: c for g, c in self.counts[n].items() if g[:-1] == context}
            total = sum(following.values())
            if total == 0:
                break
            discount = self.discounts[n]
            p = max(following.get((*context, unit), 0) - discount, 0) / total + discount * len(following) / total * p
        return p
