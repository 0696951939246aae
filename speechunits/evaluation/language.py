"""N-gram language models of texts: the interpolated Kneser–Ney model of the units, written as a back-off model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechunits.asr.arpa import END, SPACES, START, UNKNOWN, Ngram, NgramModel
from speechunits.asr.tokens import normalize
from speechunits.audio.corpus import SPLIT_SEED
from speechunits.audio.load import printable
from speechunits.audio.manifest import read_manifest
from speechunits.audio.split import cut_tune
from speechunits.audio.split import split as divided
from speechunits.errors import UsageError
from speechunits.evaluation.information import KneserNey, matching

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
_NEVER = -99.0
"""Log10 probability of the start mark: it is given, never predicted."""


def estimate_ngrams(texts: Iterable[str], *, order: int = 6, words: bool = False) -> NgramModel:
    """Return the interpolated Kneser–Ney model of texts, over characters (spaces among them) or ``words``.

    Texts are normalised as transcripts are. The end of a text is predicted like a symbol; a model over words also has
    ``<unk>``, with the share that the uniform distribution gives each symbol.

    Raises
    ------
    UsageError
        If the order is below 1, or the texts are empty.
    """
    if order < 1:
        raise UsageError(f"the order of a language model must be at least 1, but is {order} instead")
    lines = [line for line in map(normalize, texts) if line]
    if not lines:
        raise UsageError("a language model needs text, but there is none; check the file, or the column text")
    split = [line.split(" ") if words else [SPACES[0] if letter == " " else letter for letter in line]
             for line in lines]  # fmt: skip
    names = [*sorted({symbol for line in split for symbol in line}), END, *(UNKNOWN[:1] if words else ())]
    indices = {name: index for index, name in enumerate(names)}
    sequences = [np.array([*(indices[symbol] for symbol in line), indices[END]], np.int64) for line in split]
    return as_backoff(KneserNey(sequences, len(names), order), names)


def read_texts(path: Path, split: str = "train") -> list[str]:
    """Return the texts of a file, a line each; of a manifest (``.tsv``) those of ``split``, as training divides it.

    Raises
    ------
    UsageError
        If the file cannot be read, or a manifest has faults, or no such split.
    """
    if path.suffix == ".tsv":
        rows, _ = divided(read_manifest(path), SPLIT_SEED)
        rows = cut_tune(rows, SPLIT_SEED)
        if split not in (present := sorted({row.split or "none" for row in rows})):
            raise UsageError(f"{printable(path)} has no split {split!r}; its splits are: {', '.join(present)}")
        return [row.text for row in rows if row.text and row.split == split]
    try:
        # Windows editors begin files with a mark that is no letter.
        return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except OSError as error:
        raise UsageError(f"cannot read the text {printable(path)}: {error.strerror}; name a file of texts") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read the text {printable(path)}: it must be UTF-8 ({error}); save it as such"
        ) from error


def as_backoff(model: KneserNey, names: Sequence[str]) -> NgramModel:
    """Return an interpolated model as a back-off one of equal probabilities; ``names`` are those of its symbols.

    The model pads a history with several start symbols, a back-off model with one: what begins with starts is taken
    from the longest n-grams alone, and the weights of its shorter ones are multiplied.
    """
    size, labels = model.clusters, [*names, START]
    ngrams: dict[Ngram, tuple[float, float]] = {}
    backoffs: dict[Ngram, float] = {}
    # Before the unigrams: the uniform distribution in the empty history.
    shorter_ngrams, shorter = np.arange(size), np.full(size, 1 / size)
    histories: IntArray = np.zeros((1, 0), np.int64)
    product: FloatArray = np.ones(1)
    for level, own in enumerate(model.levels, start=1):
        reach = np.zeros(1, np.int64)
        if level > 1:
            reach, furthest = np.divmod(own.contexts, size + 1)
            histories = np.concatenate([furthest[:, None], histories[reach]], axis=1)
        owner, symbol = np.divmod(own.ngrams, size)
        weights = own.discount * own.types / own.totals
        lower = shorter[matching(shorter_ngrams, reach[owner] * size + symbol)]
        probability = np.maximum(own.counts - own.discount, 0) / own.totals[owner] + weights[owner] * lower
        begins = (histories == size).any(axis=1)
        product = np.where(begins, weights * product[reach], 1.0)
        told = ~begins | (level == model.order)
        for row in np.flatnonzero(told).tolist():
            backoffs[_named(histories[row], labels)] = float(product[row] if begins[row] else weights[row])
        kept = np.flatnonzero(told[owner])
        for row, value in zip(kept.tolist(), np.log10(probability[kept]).tolist(), strict=True):
            ngrams[*_named(histories[owner[row]], labels), names[symbol[row]]] = (value, 0.0)
        shorter_ngrams, shorter = own.ngrams, probability
    unseen = float(np.log10(backoffs.pop((), 1.0) / size))
    ngrams |= {(name,): (unseen, 0.0) for name in names if (name,) not in ngrams}
    ngrams[START,] = (_NEVER, 0.0)
    for context, weight in backoffs.items():
        ngrams[context] = (ngrams[context][0], float(np.log10(weight)))
    return NgramModel(model.order, ngrams)


def _named(history: IntArray, labels: Sequence[str]) -> Ngram:
    starts = int((history == len(labels) - 1).sum())
    return tuple(labels[symbol] for symbol in history[max(0, starts - 1) :].tolist())
