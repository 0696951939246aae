"""Scores of one training on one split: what a reduction factor can be recomputed from, without any text."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["pretrained", "untrained", "logmel", "units"]
BASELINES: tuple[Side, ...] = ("untrained", "logmel")
"""(i) the same encoder untrained; (ii) a small log-mel CTC model."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Per-utterance errors of one training (side, budget, seed) on one split."""

    side: Side
    minutes: float | None
    """Label budget in minutes; None for all labels."""
    seed: int
    minutes_actual: float
    """Minutes of labels the list really holds."""
    split: str
    """``tune`` chooses between baselines; the reported split is ``dev`` unless the recipe says otherwise."""
    hashes: tuple[str, ...]
    """Salted hash of each utterance's id, in the order of ``errors``."""
    errors: tuple[int, ...]
    lengths: tuple[int, ...]
    """Reference code points of each utterance."""
    lm: str = ""
    """Language model of the decoding; empty: none."""
    all_blank: bool = False
    """No frame of the split was anything but blank."""
    compute: Literal["", "equal"] = ""
    """``equal``: a baseline that was also given pretraining's FLOPs."""

    def __post_init__(self) -> None:
        if not len(self.hashes) == len(self.errors) == len(self.lengths):
            raise ValueError(
                f"a score must have one error count and length an utterance, but has {len(self.hashes)} hashes, "
                f"{len(self.errors)} errors and {len(self.lengths)} lengths instead"
            )
        if not sum(self.lengths):
            raise ValueError(f"the references of split {self.split!r} must hold text, but all are empty")

    @property
    def cer(self) -> float:
        """Character error rate: Σ errors / Σ reference code points."""
        return sum(self.errors) / sum(self.lengths)

    @property
    def budget(self) -> float:
        """Minutes on the axis: the nominal budget, or what ``all`` really held."""
        return self.minutes_actual if self.minutes is None else float(self.minutes)


def rate_name(tokens: str) -> str:
    """Return what error rates are called: of characters, or of phones where those are the ``tokens``."""
    return "PER" if tokens == "phones" else "CER"


def label_of(minutes: float | None) -> str:
    """Return the name of a label budget: ``4``, or ``all``."""
    return "all" if minutes is None else f"{minutes:g}"


def utterance_hash(identity: str, salt: str) -> str:
    """Return a hash that matches utterances between runs and tells nobody which they are."""
    return hashlib.sha256(f"{salt}\0{identity}".encode()).hexdigest()[:16]


def scores_to_json(scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Return scores as JSON values."""
    return [dataclasses.asdict(score) for score in scores]


def scores_from_json(rows: Iterable[dict[str, Any]]) -> list[Score]:
    """Return the scores of :func:`scores_to_json`."""
    sequences = ("hashes", "errors", "lengths")
    return [Score(**(row | {name: tuple(row[name]) for name in sequences})) for row in rows]
