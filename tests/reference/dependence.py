"""Slow oracle of corrected information: every permutation, one by one, with dictionaries."""

from __future__ import annotations

import itertools

from tests.reference.information import entropy, mutual_information


def mean_over_owners(units, owners):
    """Return the mean plug-in information over all orders of the recordings' owners."""
    found = []
    for order in itertools.permutations(owners):
        pairs = [(unit, owner) for row, owner in zip(units, order, strict=True) for unit in row]
        found.append(mutual_information([a for a, _ in pairs], [b for _, b in pairs]))
    return sum(found) / len(found)


def mean_over_shifts(left, right):
    """Return the mean plug-in information over all circular shifts of one recording but none."""
    found = [mutual_information(left[k:] + left[:k], right) for k in range(1, len(left))]
    return sum(found) / len(found)


def adjusted(left, right, chance):
    """Return adjusted mutual information (Vinh et al. 2010) for a given expectation."""
    return (mutual_information(left, right) - chance) / ((entropy(left) + entropy(right)) / 2 - chance)
