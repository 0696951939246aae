"""When tokens were spoken: the most probable path that spells them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechunits.objectives.ctc import BLANK


def best_path(log_posteriors: NDArray[np.floating], tokens: Sequence[int]) -> NDArray[np.int64]:
    """Return the ``(S,)`` frame labels of the most probable path that CTC reads as ``tokens``.

    Viterbi over tokens with blanks between them (Graves et al. 2006, §4.1, with max in place of the sum).

    Raises
    ------
    ValueError
        If the frames are too few for the tokens.
    """
    frames = np.asarray(log_posteriors, dtype=np.float64)
    labels = np.full(2 * len(tokens) + 1, BLANK, dtype=np.int64)
    labels[1::2] = tokens
    skips = np.zeros(len(labels), dtype=bool)
    skips[2:] = (labels[2:] != BLANK) & (labels[2:] != labels[:-2])
    score = np.full(len(labels), -np.inf)
    score[0] = 0.0  # before the first frame; a blank and the first token can both follow
    moves = np.zeros((len(frames), len(labels)), dtype=np.int8)
    for index, frame in enumerate(frames):
        options = np.full((3, len(labels)), -np.inf)
        options[0] = score
        options[1, 1:] = score[:-1]
        if index:
            options[2, 2:] = np.where(skips[2:], score[:-2], -np.inf)
        moves[index] = options.argmax(axis=0)
        score = options.max(axis=0) + frame[labels]
    state = len(labels) - 1
    if len(labels) > 1 and score[-2] >= score[-1]:
        state -= 1
    if score[state] == -np.inf:
        raise ValueError(f"{len(tokens)} tokens need more than the {len(frames)} frames there are")
    path = np.zeros(len(frames), dtype=np.int64)
    for index in range(len(frames) - 1, -1, -1):
        path[index] = labels[state]
        state -= int(moves[index, state])
    return path
