"""The ABX error of tokens: cells of (context, speakers, A, B), averaged as ZeroSpeech does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import UsageError
from speechunits.evaluation.abx.dtw import FloatArray, IntArray, Tokens
from speechunits.evaluation.abx.items import Item

Speaker = Literal["within", "across"]
"""Is X spoken by the speaker of A and B, or by another one?"""
Context = Literal["within", "any"]
"""Are A, B and X compared between the same neighbours only, or wherever they stand?"""


@dataclass(frozen=True, kw_only=True)
class AbxScore:
    """An ABX error: the share of triples in which X is nearer to B; .5 is chance."""

    error: float
    """Mean over ordered pairs of phones, of the mean over speakers, of the mean over contexts (and speakers of X)."""
    error_symmetric: float
    """The same with the two orders of a pair averaged first: differs where one of them has no triple."""
    pairs: int
    """Ordered pairs of phones."""
    cells: int
    """Combinations of context, speakers and ordered pair."""
    triples: int


def abx_score(
    tokens: Tokens,
    items: Sequence[Item],
    *,
    speaker: Speaker,
    context: Context,
    max_other_speakers: int | None = None,
    seed: int = 0,
) -> AbxScore:
    """Score tokens, one an item.

    Parameters
    ----------
    max_other_speakers
        Across speakers: at most so many speakers of X for each context, speaker and phone A, drawn with ``seed``; None
        takes all.

    Raises
    ------
    UsageError
        If the items hold no triple.
    """
    groups = _groups(items, context)
    generator = np.random.default_rng(seed)
    names = sorted({item.phone for item in items})
    rows: list[tuple[int, int, int]] = []
    """Speaker, A, B of each cell."""
    errors: list[float] = []
    triples = 0
    speaker_ids = {name: place for place, name in enumerate(sorted({item.speaker for item in items}))}
    phone_ids = {name: place for place, name in enumerate(names)}
    for group in groups:
        # Most triphones are too rare to hold a triple: they cost nothing.
        if sum(map(len, group.values())) < 3 or (speaker == "across" and len(group) < 2):
            continue
        sides = {name: _Side(places, [phone_ids[items[place].phone] for place in places])
                 for name, places in sorted(group.items())}  # fmt: skip
        boards = list(_boards(sides, speaker, max_other_speakers, generator))
        for name, side, other, found, counts in _scored(tokens, boards):
            for row, column in zip(*(place.tolist() for place in counts.nonzero()), strict=True):
                rows.append((speaker_ids[name], other.phones[row], side.phones[column]))
                errors.append(float(found[row, column]))
            triples += int(counts.sum())
    if not rows:
        raise _no_triple(speaker, context, items)
    return _averaged(np.array(rows), np.array(errors), len(names), triples)


def _no_triple(speaker: Speaker, context: Context, items: Sequence[Item]) -> UsageError:
    names = {item.speaker for item in items}
    if speaker == "across" and len(names) == 1:
        found = f"all of {len(items)} items are by {min(names)!r}; compare this speaker's own with --speaker within"
    else:
        found = f"{len(items)} items hold none; take more recordings, phonemes instead of triphones, or any context"
    return UsageError(
        f"ABX {speaker} speaker, {context} context, needs triples: two tokens of A and one of B in one context by "
        f"{'one speaker' if speaker == 'within' else 'two speakers'}, but {found}"
    )


def _averaged(rows: IntArray, errors: NDArray[np.float64], phones: int, triples: int) -> AbxScore:
    """Average over contexts and speakers of X, then over speakers, then over pairs."""
    by_speaker, cell = np.unique(rows, axis=0, return_inverse=True)
    means = np.bincount(cell.ravel(), weights=errors) / np.bincount(cell.ravel())
    table, count = np.zeros((phones, phones)), np.zeros((phones, phones))
    np.add.at(table, (by_speaker[:, 1], by_speaker[:, 2]), means)
    np.add.at(count, (by_speaker[:, 1], by_speaker[:, 2]), 1)
    defined = count > 0
    pairs = np.divide(table, count, out=np.zeros_like(table), where=defined)
    either = np.triu(defined | defined.T)
    both = ((pairs + pairs.T) / np.maximum(1, defined.astype(int) + defined.T))[either]
    return AbxScore(
        error=float(pairs[defined].mean()),
        error_symmetric=float(both.mean()),
        pairs=int(defined.sum()),
        cells=len(errors),
        triples=triples,
    )


def _groups(items: Sequence[Item], context: Context) -> list[dict[str, list[int]]]:
    """Return the items of each context, by speaker."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for place, item in enumerate(items):
        key = (item.previous, item.following) if context == "within" else ("", "")
        groups.setdefault(key, {}).setdefault(item.speaker, []).append(place)
    return [group for _, group in sorted(groups.items())]


class _Side:
    """Tokens of one speaker in one context, in the order of their phones; lists, since most hold very few."""

    def __init__(self, places: Sequence[int], phones: Sequence[int]) -> None:
        pairs = sorted(zip(phones, places, strict=True))
        self.tokens: IntArray = np.array([place for _, place in pairs], np.int64)
        self.index: dict[int, int] = {}
        """Place of each phone."""
        edges: list[int] = []
        for place, (phone, _) in enumerate(pairs):
            if phone not in self.index:
                self.index[phone] = len(edges)
                edges.append(place)
        self.phones = list(self.index)
        self.edges: IntArray = np.array([*edges, len(pairs)], np.int64)
        self.repeated = len(pairs) > len(edges)
        """Some phone has two tokens."""


_Board = tuple[str, _Side, _Side, set[int]]
"""The speaker of A and B, its tokens, the tokens X is taken from, and which of X's phones may be A."""


def _boards(
    sides: dict[str, _Side], speaker: Speaker, most: int | None, generator: np.random.Generator
) -> Iterator[_Board]:
    """Yield the speaker of A and B, its tokens, the tokens X is taken from, and which of X's phones may be A."""
    for name, side in sides.items():
        if len(side.phones) < 2:
            continue
        if speaker == "within":
            if side.repeated:
                yield name, side, side, set(side.phones)
            continue
        allowed: dict[str, set[int]] = {other: set() for other in sides if other != name}
        for phone in side.phones:
            holders = [other for other in allowed if phone in sides[other].index]
            if most is not None and len(holders) > most:
                holders = [holders[place] for place in sorted(generator.permutation(len(holders))[:most])]
            for other in holders:
                allowed[other].add(phone)
        for other, phones in allowed.items():
            if phones:
                yield name, side, sides[other], phones


def _scored(
    tokens: Tokens, boards: Sequence[_Board]
) -> Iterator[tuple[str, _Side, _Side, NDArray[np.float64], IntArray]]:
    """Yield the speaker of A and B, the sides, and errors and numbers of triples; (s, t) and (t, s) share distances."""
    waiting = {(id(board[1]), id(board[2])): board for board in boards}
    for board in boards:
        _, side, other, _ = board
        if waiting.pop((id(side), id(other)), None) is None:
            continue
        distances = tokens.between(other.tokens, other.tokens if other is side else side.tokens)
        yield (board[0], side, other, *_cells(distances, board))
        mirrored = waiting.pop((id(other), id(side)), None)
        if mirrored is not None:
            yield (mirrored[0], other, side, *_cells(np.ascontiguousarray(distances.T), mirrored))


def _cells(distances: FloatArray, board: _Board) -> tuple[NDArray[np.float64], IntArray]:
    """Return error and number of triples for each phone of X (and A) and each phone of B; 0 triples: undefined."""
    from speechunits.evaluation.abx.kernels import count_errors  # noqa: PLC0415 - numba takes a second to import

    _, side, other, allowed = board
    shape = (len(other.phones), len(side.phones))
    errors, counts = np.zeros(shape), np.zeros(shape, np.int64)
    match = np.array([side.index.get(phone, -1) if phone in allowed else -1 for phone in other.phones], np.int64)
    count_errors(distances, other.edges, side.edges, match, int(other is side), errors, counts)
    return errors, counts
