"""An n-gram model over the tokens of a recogniser: what each token adds to the probability of what was written."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechunits.asr.arpa import END, SPACES, START, UNSEEN, Ngram, NgramModel
from speechunits.asr.tokens import Tokenizer
from speechunits.errors import UsageError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_LN10 = math.log(10)
_SHOWN = 20
_MOST_STATES = 100_000
"""Beyond this, what is known of earlier states is forgotten between stretches of a recording."""


class LanguageScorer:
    """States of a language model, numbered as they are met; a score is a natural logarithm.

    A model over characters scores every character. One over words scores a word once a space ends it (Hannun et al.
    2014), so that a recogniser may spell words nobody listed: those are the model's unknown word. A recogniser of
    phones writes one symbol of the model with every token.

    Raises
    ------
    UsageError
        If the recogniser writes characters (or phones) that the model never does, all of them named.
    """

    def __init__(self, model: NgramModel, tokenizer: Tokenizer) -> None:
        check_alphabet(model, tokenizer)
        self.model = model
        # Sentencepiece begins a text with a space of its own, which decoding takes away again.
        self._marked = tokenizer.model is not None
        self._spaced = tokenizer.spaced
        self._texts = [symbol.replace("▁", " ") if self._marked else symbol for symbol in tokenizer.symbols]
        self.root = 0
        self._forget()

    def _forget(self, first: tuple[Ngram, str] | None = None) -> None:
        start = self.model.after((), START)
        self._keys: list[tuple[Ngram, str]] = [(start, ""), *([first] if first is not None else [])]
        self._numbers = {key: number for number, key in enumerate(self._keys)}
        self._steps: dict[tuple[int, int], int] = {}
        self._rows = np.zeros((0, len(self._texts)))
        self._filled = np.zeros(0, dtype=bool)

    def scores(self, states: IntArray) -> FloatArray:
        """Return ``(B, V)`` ln P of every token after each of ``(B,)`` states."""
        if len(self._keys) > len(self._filled):
            more = max(1024, 2 * len(self._keys)) - len(self._filled)
            self._rows = np.concatenate([self._rows, np.zeros((more, len(self._texts)))])
            self._filled = np.concatenate([self._filled, np.zeros(more, dtype=bool)])
        for state in states[~self._filled[states]].tolist():
            self._rows[state] = [self._advance(self._keys[state], text)[0] for text in self._texts]
            self._filled[state] = True
        return self._rows[states]

    def step(self, state: int, token: int) -> int:
        """Return the state after a token."""
        known = self._steps.get((state, token))
        if known is None:
            key = self._advance(self._keys[state], self._texts[token])[1]
            known = self._numbers.setdefault(key, len(self._keys))
            if known == len(self._keys):
                self._keys.append(key)
            self._steps[state, token] = known
        return known

    def final(self, states: Sequence[int]) -> FloatArray:
        """Return ``(B,)`` ln P that the text ends in each state, its last word included."""
        found = []
        for state in states:
            context, word = self._keys[state]
            score = 0.0
            if word:
                score, context = self._score(context, word)
            found.append(score + (_LN10 * self.model.log10(context, END) if (END,) in self.model.ngrams else 0.0))
        return np.array(found)

    def forget(self, state: int) -> int:
        """Free what many states took and return the new number of ``state``; nothing is done while they are few."""
        if len(self._keys) < _MOST_STATES:
            return state
        key = self._keys[state]
        self._forget(key if key != self._keys[0] else None)
        return self._numbers[key]

    def _advance(self, key: tuple[Ngram, str], text: str) -> tuple[float, tuple[Ngram, str]]:
        context, word = key
        if self._spaced:
            score, context = self._score(context, text)
            return score, (context, "")
        total = 0.0
        for character in text:
            if character == " " and self._marked and key == self._keys[0]:
                continue
            if self.model.of_characters:
                symbol = self.model.space or character if character == " " else character
                score, context = self._score(context, symbol)
                total += score
            elif character == " ":
                # An empty word (two spaces, or one at the start) is no word of the model: it costs an unknown one.
                score, context = self._score(context, word)
                total, word = total + score, ""
            else:
                word += character
        return total, (context, word)

    def _score(self, context: Ngram, symbol: str) -> tuple[float, Ngram]:
        if (symbol,) in self.model.ngrams and symbol not in (START, END):
            return _LN10 * self.model.log10(context, symbol), self.model.after(context, symbol)
        name = next((name for name in ("<unk>", "<UNK>") if (name,) in self.model.ngrams), None)
        if name is None:
            return _LN10 * UNSEEN, ()
        return _LN10 * self.model.log10(context, name), self.model.after(context, name)


def check_alphabet(model: NgramModel, tokenizer: Tokenizer) -> None:
    """Refuse a model that lacks characters of a recogniser: it would forbid what the recogniser has learnt to write.

    Raises
    ------
    UsageError
        With the characters that are missing, and those that only the model has.
    """
    if tokenizer.spaced:
        _check_phones(model, tokenizer)
        return
    if model.of_characters:
        alphabet = {" " if symbol in SPACES and symbol == model.space else symbol for symbol in model.symbols}
    else:
        alphabet = {" ", *"".join(model.symbols)}
    missing = sorted(tokenizer.characters - alphabet)
    if missing:
        kind = "characters" if model.of_characters else "words"
        besides = sorted(alphabet - tokenizer.characters)
        raise UsageError(
            f"the language model (of {kind}) must know every character that the recogniser writes, but lacks "
            f"{_listed(missing)}; only the model has {_listed(besides) if besides else 'none'}. Estimate it on text in "
            "the spelling of the transcripts (`speechunits lm`)"
        )


def _check_phones(model: NgramModel, tokenizer: Tokenizer) -> None:
    missing = sorted({*tokenizer.symbols[1:]} - {*model.symbols})
    if missing:
        raise UsageError(
            f"the language model must know every phone that the recogniser writes, but lacks {_listed(missing)}. "
            "Estimate it on phones parted by spaces (`speechunits lm --words`)"
        )


def _listed(characters: Sequence[str]) -> str:
    shown = ", ".join("the space" if character == " " else repr(character) for character in characters[:_SHOWN])
    return shown if len(characters) <= _SHOWN else f"{shown} and {len(characters) - _SHOWN} more"
