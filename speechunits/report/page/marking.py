"""A reference against a hypothesis, letter by letter or phone by phone, and the errors of a set counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

from speechunits.asr.tokens import counted

Kind = Literal["same", "missing", "wrong"]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Span:
    """Letters (or phones) that are the same on both sides, missing from the hypothesis, or wrongly in it."""

    kind: Kind
    text: str


def marked(reference: str, hypothesis: str, *, spaced: bool = False) -> list[Span]:
    """Return the spans of a least edit path between two texts in NFC; a substitution is missing, then wrong.

    The ``same`` and ``missing`` spans make up the reference, the ``same`` and ``wrong`` ones the hypothesis; where
    ``spaced`` parts them (phones), each has its space behind it.
    """
    said, written = (counted(text, spaced=spaced) for text in (reference, hypothesis))
    behind = " " if spaced else ""
    spans: list[Span] = []
    for step in Levenshtein.opcodes(said, written):
        left = "".join(symbol + behind for symbol in said[step.src_start : step.src_end])
        right = "".join(symbol + behind for symbol in written[step.dest_start : step.dest_end])
        if step.tag == "equal":
            spans.append(Span("same", left))
            continue
        spans += [Span("missing", left)] if left else []
        spans += [Span("wrong", right)] if right else []
    return spans


def error_rate(reference: str, hypothesis: str, *, spaced: bool = False) -> float | None:
    """Return the errors of a hypothesis over the letters (or phones) of its reference; None where that is empty."""
    said, written = (counted(text, spaced=spaced) for text in (reference, hypothesis))
    return Levenshtein.distance(said, written) / len(said) if said else None


def letter_errors(pairs: Iterable[Pair], *, spaced: bool = False) -> Counter[Pair]:
    """Count the errors of (reference, hypothesis) pairs by what was said and what was written; empty: nothing."""
    counts: Counter[Pair] = Counter()
    for texts in pairs:
        said, written = (counted(text, spaced=spaced) for text in texts)
        for step in Levenshtein.editops(said, written):
            left = "" if step.tag == "insert" else said[step.src_pos]
            right = "" if step.tag == "delete" else written[step.dest_pos]
            counts[left, right] += 1
    return counts
