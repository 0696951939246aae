"""Tokens into words, each with its time and how sure the recogniser is of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speechunits.asr.tokens import normalize


@dataclass(frozen=True, kw_only=True)
class TimedToken:
    """A token and when its frames were."""

    token: str
    start_s: float
    end_s: float
    confidence: float | None = None
    """Mean posterior of the symbol over its frames; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A word, from its first token's frames to its last's."""

    word: str
    start_s: float
    end_s: float
    confidence: float | None
    """Mean of its tokens'; spaces count for no word."""


def timed_words(tokens: Sequence[TimedToken], *, marked: bool = False, spaced: bool = False) -> list[TimedWord]:
    """Return the words of tokens, parted by spaces; with ``marked`` by sentencepiece's mark U+2581 that begins one.

    Where tokens are ``spaced``, as phones are, each is a word of its own.
    """
    if spaced:
        return [
            TimedWord(word=token.token, start_s=token.start_s, end_s=token.end_s, confidence=token.confidence)
            for token in tokens
        ]
    words: list[TimedWord] = []
    group: list[TimedToken] = []
    spelled = ""

    def close() -> None:
        nonlocal spelled
        if spelled:
            known = [token.confidence for token in group if token.confidence is not None]
            words.append(
                TimedWord(
                    word=normalize(spelled), start_s=group[0].start_s, end_s=group[-1].end_s,
                    confidence=sum(known) / len(known) if known else None,
                )
            )  # fmt: skip
        group.clear()
        spelled = ""

    for token in tokens:
        text = token.token.replace("▁", " ") if marked else token.token
        first, *rest = text.split(" ")
        if rest:
            if first:
                group.append(token)
                spelled += first
            close()
            for word in rest[:-1]:
                group.append(token)
                spelled = word
                close()
            first = rest[-1]
        if first:
            group.append(token)
            spelled += first
    close()
    return words
