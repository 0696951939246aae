"""Edit distances: character and word error rates."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class Edits(NamedTuple):
    """The errors of one hypothesis; they add up over a set."""

    errors: int
    """Substitutions + deletions + insertions."""
    length: int
    """Units of the reference."""


def character_edits(reference: str, hypothesis: str) -> Edits:
    """Return the edits between code points in NFC, spaces counted. An empty hypothesis is all deletions."""
    reference, hypothesis = (unicodedata.normalize("NFC", text) for text in (reference, hypothesis))
    return Edits(Levenshtein.distance(reference, hypothesis), len(reference))


def word_edits(reference: str, hypothesis: str) -> Edits:
    """Return the edits between words (parted by white space) in NFC."""
    words, guesses = (unicodedata.normalize("NFC", text).split() for text in (reference, hypothesis))
    return Edits(Levenshtein.distance(words, guesses), len(words))


def error_rate(edits: Iterable[Sequence[int]]) -> float:
    """Return Σ errors / Σ lengths; insertions are not capped, so that it may pass 1.

    Raises
    ------
    ValueError
        If the references are empty.
    """
    errors = length = 0
    for wrong, units in edits:
        errors += wrong
        length += units
    if not length:
        raise ValueError("the references must hold at least one unit, but all are empty; check the column text")
    return errors / length
