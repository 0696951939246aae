"""Which recordings a training could never align: texts that need more frames than the speech heard of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

_HEARINGS = 4
"""Of a recording that are noted: at another speed it has other frames."""


class Alignments:
    """Notes of the first hearings of each recording; no device is waited for until they are asked for."""

    def __init__(self) -> None:
        self._hearings: Counter[str] = Counter()
        self._notes: list[tuple[tuple[str, ...], Tensor]] = []

    def note(self, ids: Sequence[str], aligned: Tensor) -> None:
        """Note which rows of a batch have an alignment, ``(B,)``, until each was heard often enough."""
        if any(self._hearings[name] < _HEARINGS for name in ids):
            self._hearings.update(ids)
            self._notes.append((tuple(ids), aligned))

    def never(self) -> set[str]:
        """Return the recordings that were heard and had no alignment at any hearing."""
        found: dict[str, bool] = {}
        for ids, aligned in self._notes:
            for name, fits in zip(ids, aligned.tolist(), strict=True):
                found[name] = found.get(name, False) or fits
        return {name for name, fits in found.items() if not fits}
