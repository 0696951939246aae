"""A reference against a hypothesis, letter by letter, and the errors of a set counted."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

Kind = Literal["same", "missing", "wrong"]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Span:
    """Letters that are the same on both sides, missing from the hypothesis, or wrongly in it."""

    kind: Kind
    text: str


def marked(reference: str, hypothesis: str) -> list[Span]:
    """Return the spans of a least edit path between two texts in NFC; a substitution is missing, then wrong.

    The ``same`` and ``missing`` spans make up the reference, the ``same`` and ``wrong`` ones the hypothesis.
    """
    reference, hypothesis = (unicodedata.normalize("NFC", text) for text in (reference, hypothesis))
    spans: list[Span] = []
    for step in Levenshtein.opcodes(reference, hypothesis):
        left = reference[step.src_start : step.src_end]
        right = hypothesis[step.dest_start : step.dest_end]
        if step.tag == "equal":
            spans.append(Span("same", left))
            continue
        spans += [Span("missing", left)] if left else []
        spans += [Span("wrong", right)] if right else []
    return spans


def letter_errors(pairs: Iterable[Pair]) -> Counter[Pair]:
    """Count the errors of (reference, hypothesis) pairs by what was said and what was written; empty: nothing."""
    counts: Counter[Pair] = Counter()
    for texts in pairs:
        reference, hypothesis = (unicodedata.normalize("NFC", text) for text in texts)
        for step in Levenshtein.editops(reference, hypothesis):
            said = "" if step.tag == "insert" else reference[step.src_pos]
            written = "" if step.tag == "delete" else hypothesis[step.dest_pos]
            counts[said, written] += 1
    return counts
