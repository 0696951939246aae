"""A small recurrent language model over units, and the bits a unit that it needs on held-out speech.

Beside the n-gram of :mod:`speechunits.evaluation.information`: what it does better is what lies further back than four
units. GRU: Cho et al. 2014; trained by truncated backpropagation on pieces of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from speechunits.errors import UsageError

IntArray = NDArray[np.int64]

_PIECE = 64
"""Units of one training sequence."""


class UnitLanguageModel(nn.Module):
    """p(unit | all units before it in the recording)."""

    def __init__(self, clusters: int, *, dim: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.clusters = clusters
        self.embedding = nn.Embedding(clusters + 1, dim)
        """The last entry stands before the first unit."""
        self.recurrence = nn.GRU(dim, hidden, batch_first=True)
        self.output = nn.Linear(hidden, clusters)

    def forward(self, units: Tensor) -> Tensor:
        """Return ``(B, S, K)`` logits of each of the ``(B, S)`` units, from those before it."""
        start = units.new_full((len(units), 1), self.clusters)
        states, _ = self.recurrence(self.embedding(torch.cat([start, units[:, :-1]], dim=1)))
        logits: Tensor = self.output(states)
        return logits


def fit_language_model(
    sequences: Sequence[IntArray],
    clusters: int,
    *,
    steps: int = 400,
    batch: int = 32,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> UnitLanguageModel:
    """Train on the units of recordings, ``steps`` batches of pieces of 64 units, the rate falling to 0 linearly.

    Raises
    ------
    UsageError
        If there is no unit to learn from.
    """
    generator = np.random.default_rng(seed)
    known = [np.asarray(row, np.int64) for row in sequences if len(row)]
    if not known:
        raise UsageError("a unit language model needs units to learn from, but got none; is the train split empty?")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UnitLanguageModel(clusters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    chances = np.array([len(row) for row in known], np.float64)
    for step in range(steps):
        rows = generator.choice(len(known), batch, p=chances / chances.sum())
        pieces = np.full((batch, _PIECE), -100, np.int64)
        for place, row in enumerate(rows):
            start = int(generator.integers(max(len(known[row]) - _PIECE, 0) + 1))
            piece = known[row][start : start + _PIECE]
            pieces[place, : len(piece)] = piece
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / steps)
        loss = _nats(model, torch.from_numpy(pieces)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def bits_a_unit(model: UnitLanguageModel, sequences: Sequence[IntArray]) -> float:
    """Return the cross-entropy in bits a unit over recordings, each from its first unit on.

    Raises
    ------
    UsageError
        If there is no unit to score.
    """
    known = [torch.from_numpy(np.asarray(row, np.int64))[None] for row in sequences if len(row)]
    if not known:
        raise UsageError("bits a unit need held-out units, but got none")
    with torch.inference_mode():
        nats = sum(float(_nats(model, row).sum(dtype=torch.float64)) for row in known)
    return nats / float(np.log(2)) / sum(row.shape[1] for row in known)


def _nats(model: UnitLanguageModel, units: Tensor) -> Tensor:
    """Return the ``(N,)`` losses of the real ones of ``(B, S)`` units; padding is -100, and only at the end."""
    logits = model(units.clamp_min(0))
    real = units >= 0
    return F.cross_entropy(logits[real], units[real], reduction="none")
