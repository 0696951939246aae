"""CTC prefix beam search with an n-gram language model, free of any lexicon.

Hannun, Maas, Jurafsky and Ng 2014, "First-pass large vocabulary continuous speech recognition using bi-directional
recurrent DNNs", algorithm 1. Of a text y it ranks ln Σ_paths P(path) + weight · ln P_LM(y, end) + bonus · |y|, |y| in
tokens. All prefixes of a frame are extended at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechunits.asr.language import FloatArray, IntArray, LanguageScorer
from speechunits.objectives.ctc import BLANK

LONGEST_STRETCH = 1500
"""Frames (30 s) searched at once; a longer recording is cut where a blank is surest."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How wide to search, and what the language model counts."""

    width: int = 32
    """Prefixes kept a frame."""
    weight: float = 0.5
    """Of the language model's ln P."""
    bonus: float = 1.0
    """Nats for each token written: the language model alone prefers short texts."""
    floor: float = 10.0
    """Tokens this many nats below the best one of a frame do not extend a prefix there."""

    def __post_init__(self) -> None:
        # Not "weight < 0": a comparison with NaN is never true.
        if self.width < 1 or not 0 <= self.weight < math.inf or not math.isfinite(self.bonus):
            raise ValueError(
                "width must be at least 1, weight at least 0 and finite, and bonus finite, but they are "
                f"{self.width}, {self.weight} and {self.bonus}"
            )


class Candidate(NamedTuple):
    """A text the search arrived at."""

    tokens: tuple[int, ...]
    score: float
    """What it was ranked by."""
    acoustic: float
    """ln Σ P over the paths that spell it and stayed within the beam."""
    state: int
    """Of the language model, before the end of the text."""


class _Prefixes:
    """Every prefix that was ever in the beam, as (prefix without its last token, last token)."""

    def __init__(self) -> None:
        self.parents = [-1]
        self.tokens = [BLANK]
        self._children: dict[tuple[int, int], int] = {}

    def child(self, node: int, token: int) -> int:
        """Return the prefix longer by a token: always the same number, so that equal texts meet."""
        found = self._children.setdefault((node, token), len(self.parents))
        if found == len(self.parents):
            self.parents.append(node)
            self.tokens.append(token)
        return found

    def spelled(self, node: int) -> tuple[int, ...]:
        tokens = []
        while node > 0:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tuple(reversed(tokens))


@dataclass
class _Beam:
    """Prefixes in the beam, one a row."""

    nodes: IntArray
    parents: IntArray
    last: IntArray
    blank: FloatArray
    """ln P of the paths that spell the prefix and end in a blank."""
    spoken: FloatArray
    """… and end in its last token."""
    added: FloatArray
    """weight · ln P_LM + bonus · length."""
    states: IntArray


def prefix_search(
    log_posteriors: NDArray[np.floating],
    search: Search,
    scorer: LanguageScorer | None = None,
    *,
    start: int | None = None,
    ends: bool = True,
) -> list[Candidate]:
    """Return the texts in the beam after ``(S, V)`` ln posteriors, the best first.

    Parameters
    ----------
    start
        State of the language model to begin in; by default that of an empty text.
    ends
        Whether the text ends here: the end then counts in the ranking.
    """
    frames = np.asarray(log_posteriors, dtype=np.float64)
    first = 0 if scorer is None else scorer.root if start is None else start
    prefixes = _Prefixes()
    one = np.zeros(1, dtype=np.int64)
    beam = _Beam(one, one - 1, one, np.zeros(1), np.full(1, -np.inf), np.zeros(1), one + first)
    for frame in frames:
        beam = _extended(beam, frame, search, scorer, prefixes)
    acoustic = np.logaddexp(beam.blank, beam.spoken)
    score = acoustic + beam.added
    if ends and scorer is not None:
        score = score + search.weight * scorer.final(beam.states.tolist())
    spelled = [prefixes.spelled(node) for node in beam.nodes.tolist()]
    rows = np.argsort(-score, kind="stable").tolist()
    return [Candidate(spelled[row], float(score[row]), float(acoustic[row]), int(beam.states[row])) for row in rows]


def _extended(
    beam: _Beam, frame: FloatArray, search: Search, scorer: LanguageScorer | None, prefixes: _Prefixes
) -> _Beam:
    """Return the beam after one more frame of ``(V,)`` ln posteriors."""
    total = np.logaddexp(beam.blank, beam.spoken)
    blank = total + frame[BLANK]
    spoken = beam.spoken + frame[beam.last]
    likely = frame >= frame.max() - search.floor
    likely[BLANK] = False
    tokens = np.flatnonzero(likely)
    if not len(tokens):
        beam.blank, beam.spoken = blank, spoken
        return beam
    # The last token again is a new one only after a blank; without, the path still spells the same prefix.
    longer = np.where(tokens == beam.last[:, None], beam.blank[:, None], total[:, None]) + frame[tokens]
    place = np.full(len(frame), -1)
    place[tokens] = np.arange(len(tokens))
    child, parent = np.nonzero(beam.parents[:, None] == beam.nodes)
    column = place[beam.last[child]]
    child, parent, column = child[column >= 0], parent[column >= 0], column[column >= 0]
    # An extension that is in the beam already is one prefix, not two.
    spoken[child] = np.logaddexp(spoken[child], longer[parent, column])
    longer[parent, column] = -np.inf
    gained = np.full(longer.shape, search.bonus)
    if scorer is not None:
        gained += search.weight * scorer.scores(beam.states)[:, tokens]
    added = beam.added[:, None] + gained
    ranked = np.concatenate([np.logaddexp(blank, spoken) + beam.added, (longer + added).ravel()])
    best = np.argsort(-ranked, kind="stable")[: search.width]
    best = best[ranked[best] > -np.inf]
    kept = best[best < len(beam.nodes)]
    row, column = np.divmod(best[best >= len(beam.nodes)] - len(beam.nodes), len(tokens))
    new = tokens[column]
    pairs = list(zip(beam.nodes[row].tolist(), beam.states[row].tolist(), new.tolist(), strict=True))
    nodes = np.array([prefixes.child(node, token) for node, _, token in pairs], dtype=np.int64)
    states = np.array([scorer.step(state, token) if scorer else 0 for _, state, token in pairs], dtype=np.int64)
    return _Beam(
        nodes=np.concatenate([beam.nodes[kept], nodes]), parents=np.concatenate([beam.parents[kept], beam.nodes[row]]),
        last=np.concatenate([beam.last[kept], new]), blank=np.concatenate([blank[kept], np.full(len(row), -np.inf)]),
        spoken=np.concatenate([spoken[kept], longer[row, column]]),
        added=np.concatenate([beam.added[kept], added[row, column]]),
        states=np.concatenate([beam.states[kept], states]),
    )  # fmt: skip


def stretches(log_posteriors: NDArray[np.floating], longest: int = LONGEST_STRETCH) -> list[tuple[int, int]]:
    """Return the frames ``[first, stop)`` searched at once: cut at the surest blank of the second half."""
    found, first, total = [], 0, len(log_posteriors)
    while total - first > longest:
        half = longest // 2
        stop = first + half + 1 + int(np.argmax(log_posteriors[first + half : first + longest, BLANK]))
        found.append((first, stop))
        first = stop
    return [*found, (first, total)] if total > first else found
