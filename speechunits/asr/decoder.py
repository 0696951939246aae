"""From posteriors to the path that is written: greedy, or by prefix search with or without a language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechunits.asr.alignment import best_path
from speechunits.asr.arpa import read_arpa
from speechunits.asr.beam import Candidate, Search, prefix_search, stretches
from speechunits.asr.greedy import collapse
from speechunits.asr.hypothesis import Labels, Posteriors, best_labels
from speechunits.asr.language import LanguageScorer
from speechunits.asr.tokens import Tokenizer


@dataclass(frozen=True)
class Decoder:
    """How a recogniser's posteriors are read; without ``search`` greedily."""

    search: Search | None = None
    scorer: LanguageScorer | None = None

    @classmethod
    def load(cls, tokenizer: Tokenizer, lm: Path | None, search: Search | None = None) -> Decoder:
        """Return the decoder with the ARPA model ``lm``.

        Raises
        ------
        ModelRefused, UsageError
            If the model cannot be read; if it is over another alphabet than the recogniser's.
        """
        if lm is None:
            return cls(search)
        return cls(search or Search(), LanguageScorer(read_arpa(lm), tokenizer))

    def labels(self, log_posteriors: Posteriors) -> Labels:
        """Return the ``(S,)`` symbol of each frame on the path that is written.

        Of a searched text this is the most probable path that spells it. A recording of more than 30 s is searched in
        stretches, the language model going on where the best text of the one before ended.
        """
        if self.search is None or not len(log_posteriors):
            return best_labels(log_posteriors)
        return np.concatenate([best_path(piece, best.tokens) for piece, best in self._stretches(log_posteriors)])

    def tokens(self, log_posteriors: Posteriors) -> list[int]:
        """Return the tokens that are written, without their times."""
        if self.search is None:
            return collapse(best_labels(log_posteriors).tolist())
        return [token for _, best in self._stretches(log_posteriors) for token in best.tokens]

    def _stretches(self, log_posteriors: Posteriors) -> Iterator[tuple[Posteriors, Candidate]]:
        assert self.search is not None
        state = 0 if self.scorer is None else self.scorer.root
        for first, stop in stretches(log_posteriors):
            piece, ends = log_posteriors[first:stop], stop == len(log_posteriors)
            best = prefix_search(piece, self.search, self.scorer, start=state, ends=ends)[0]
            state = best.state if self.scorer is None else self.scorer.forget(best.state)
            yield piece, best
