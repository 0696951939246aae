"""Slow oracles of CTC, written from Graves et al. 2006."""

from __future__ import annotations

import itertools
import math


def collapse(path) -> tuple[int, ...]:
    """The map B: merge repeats, then drop blanks (0)."""
    merged = [symbol for index, symbol in enumerate(path) if index == 0 or path[index - 1] != symbol]
    return tuple(symbol for symbol in merged if symbol)


def ctc_negative_log_likelihood(log_probabilities, tokens) -> float:
    """−ln Σ p(path) over every path that B maps to ``tokens``: all V^S of them."""
    frames, symbols = len(log_probabilities), len(log_probabilities[0])
    total = sum(
        math.exp(sum(log_probabilities[frame][symbol] for frame, symbol in enumerate(path)))
        for path in itertools.product(range(symbols), repeat=frames)
        if collapse(path) == tuple(tokens)
    )
    return -math.log(total) if total else math.inf


def fewest_frames(tokens) -> int:
    """Lengthen a path until B can map one to ``tokens``."""
    symbols = sorted({0, *tokens})
    for frames in range(2 * len(tokens) + 1):
        if any(collapse(path) == tuple(tokens) for path in itertools.product(symbols, repeat=frames)):
            return frames
    raise AssertionError(tokens)


def katz_log10(ngrams, history, word) -> float:
    """Log10 P(word | history) of a back-off model: {n-gram: (log10 P, log10 weight)}; Katz 1987, eq. 12."""
    if (*history, word) in ngrams:
        return ngrams[(*history, word)][0]
    if not history:
        return -math.inf
    return ngrams.get(tuple(history), (0.0, 0.0))[1] + katz_log10(ngrams, history[1:], word)


def ranked_texts(log_probabilities, added) -> list[tuple[tuple[int, ...], float]]:
    """Every text with ln Σ_paths P(path) + added(text), the best first: all V^S paths are summed."""
    frames, symbols = len(log_probabilities), len(log_probabilities[0])
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(symbols), repeat=frames):
        score = sum(log_probabilities[frame][symbol] for frame, symbol in enumerate(path))
        text = collapse(path)
        totals[text] = totals.get(text, 0.0) + math.exp(score)
    scored = [(text, math.log(total) + added(text)) for text, total in totals.items()]
    return sorted(scored, key=lambda item: -item[1])


def most_probable_path(log_probabilities, tokens) -> float:
    """Ln P of the best path that B maps to ``tokens``."""
    frames, symbols = len(log_probabilities), len(log_probabilities[0])
    return max(
        sum(log_probabilities[frame][symbol] for frame, symbol in enumerate(path))
        for path in itertools.product(range(symbols), repeat=frames)
        if collapse(path) == tuple(tokens)
    )
