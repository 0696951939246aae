"""Sentences of an invented language: syllable phonotactics, Zipfian words, a small phrase grammar.

The orthography is transparent (a letter, or ``ch``, is a phoneme), so that character error rates measure acoustics and
not spelling; espeak-ng reads it by the rules of any language that writes so (Spanish, Italian, Finnish, Swahili …).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_ONSETS = {
    "t": 9, "k": 8, "s": 8, "d": 8, "r": 7, "n": 7, "m": 7, "l": 7, "p": 7, "b": 6, "g": 4, "f": 3, "ch": 2, "y": 2,
    "z": 2, "ñ": 1, "pr": 2, "tr": 2, "br": 1, "kr": 1, "dr": 1, "fr": 1, "pl": 1, "bl": 1, "kl": 1,
}  # fmt: skip
_NUCLEI = {
    "a": 28,
    "e": 22,
    "o": 20,
    "i": 12,
    "u": 8,
    "ia": 2,
    "ie": 2,
    "ue": 2,
    "ai": 1,
    "ei": 1,
    "io": 1,
    "ua": 1,
    "au": 1,
}
_CODAS = {"": 74, "n": 9, "s": 8, "r": 5, "l": 4}
_CLASSES = {
    # class: word types, syllables (fewest, most)
    "determiner": (8, 1, 1), "preposition": (12, 1, 2), "pronoun": (10, 1, 2), "noun": (1600, 2, 4),
    "verb": (1000, 2, 4), "adjective": (600, 2, 4), "adverb": (200, 2, 3),
}  # fmt: skip
_CLAUSES = {
    # frames of a sentence, with their weights: N is a noun phrase, P a preposition, others are single words
    "N verb N": 4, "N verb adverb": 2, "pronoun verb N": 1, "N verb P N": 4, "pronoun verb P N": 2,
    "adverb N verb N": 4, "pronoun adverb verb N": 2, "N verb N P N": 6, "pronoun verb N P N": 5,
}  # fmt: skip
_NOUN_PHRASES = {"determiner noun": 5, "determiner noun adjective": 4, "noun": 1}
_LENGTHS = range(3, 10)
_ZIPF_SHIFT = 2.7
"""Mandelbrot's correction: the probability of rank r is proportional to 1 / (r + 2.7)."""


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """The language of a seed and a name: about 3,400 word types, and any number of sentences."""

    seed: int
    language: str = "es"

    @cached_property
    def words(self) -> dict[str, list[str]]:
        """Word types of each class, the most frequent first; no type belongs to two classes."""
        generator = self._generator("words")
        taken: set[str] = set()
        words: dict[str, list[str]] = {}
        for name, (count, fewest, most) in _CLASSES.items():
            own: list[str] = []
            while len(own) < count:
                word = _word(generator, int(generator.integers(fewest, most + 1)))
                if word not in taken:
                    taken.add(word)
                    own.append(word)
            # Frequent words tend to be short (Zipf 1935).
            lengths = np.array([len(word) for word in own]) + generator.gumbel(scale=2.0, size=count)
            words[name] = [own[index] for index in np.argsort(lengths, kind="stable")]
        return words

    def stream(self, name: str, seen: set[str] | None = None) -> Iterator[str]:
        """Yield distinct sentences of 3 to 9 words without end; those in ``seen`` are left out, new ones added to it.

        The stream is a function of (seed, language, name, seen).
        """
        generator = self._generator(name)
        cumulative = {kind: _zipf(len(own)) for kind, own in self.words.items()}
        seen = set() if seen is None else seen
        while True:
            kinds = _draw(generator, _CLAUSES).replace("P", "preposition")
            while "N" in kinds:
                kinds = kinds.replace("N", _draw(generator, _NOUN_PHRASES), 1)
            chosen = kinds.split()
            if len(chosen) not in _LENGTHS:
                continue
            sentence = " ".join(
                self.words[kind][int(np.searchsorted(cumulative[kind], generator.random()))] for kind in chosen
            )
            if sentence not in seen:
                seen.add(sentence)
                yield sentence

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *(zlib.crc32(text.encode()) for text in (self.language, name))])


def text_only_sentences(count: int, *, seed: int, language: str = "es", forbidden: AbstractSet[str]) -> list[str]:
    """Return ``count`` distinct sentences of a corpus's language, none of them ``forbidden``, for language models."""
    stream = Sentences(seed=seed, language=language).stream("text", set(forbidden))
    return [next(stream) for _ in range(count)]


def _word(generator: np.random.Generator, syllables: int) -> str:
    word = ""
    for index in range(syllables):
        # Only words of several syllables start with a vowel: single vowels are letters' names to a reader.
        onset = "" if index == 0 and syllables > 1 and generator.random() < 0.12 else _draw(generator, _ONSETS)
        nucleus = _draw(generator, _NUCLEI)
        if onset == "g" and (nucleus[0] in "ei" or nucleus == "ue"):
            # g before e and i, and u after it, are not read as they are written.
            nucleus = "a"
        if onset == "y" and nucleus[0] == "i":
            nucleus = "o"
        if word and (word[-1] == onset[:1] or (word[-1] not in "aeiou" and onset in ("ñ", "y", "r"))):
            # Doubled letters, and clusters that are read as something else.
            word = word[:-1]
        word += onset + nucleus + (_draw(generator, _CODAS) if syllables > 1 else "")
    return word


def _draw(generator: np.random.Generator, weights: dict[str, int]) -> str:
    point = generator.random() * sum(weights.values())
    for item, weight in weights.items():
        point -= weight
        if point < 0:
            return item
    return next(iter(weights))


def _zipf(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights = 1 / (np.arange(1, count + 1) + _ZIPF_SHIFT)
    cumulative: np.ndarray[tuple[int], np.dtype[np.float64]] = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1.0
    return cumulative
