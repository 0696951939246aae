"""What pseudo-text is like on one split: predictability, Zipf, word candidates, agreement with phones and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.corpus import Corpus
from speechunits.audio.phones import Phone
from speechunits.evaluation.information import held_out_predictability
from speechunits.evaluation.language_model import bits_a_unit, fit_language_model
from speechunits.evaluation.text import candidates, piece_counts, piece_segmentation, read_pieces, zipf_slope
from speechunits.units.sample import part
from speechunits.units.sequence import merged
from speechunits.units.transcript import UnitTranscript
from speechunits.units.units import Units

IntArray = NDArray[np.int64]

FITTED_FRAMES = 90_000
"""Of train, that the language models are fitted on: half an hour."""


@dataclass(frozen=True, kw_only=True)
class PseudotextStatistics:
    """Figures, and the transcripts they are about."""

    figures: Mapping[str, Any]
    transcripts: Sequence[UnitTranscript]

    @property
    def words(self) -> list[str]:
        """The word candidates, the most frequent first."""
        return [row["piece"] for row in self.figures["candidates"]]


def pseudotext_statistics(
    bundle: Path, corpus: Corpus, split: str, *, words: Mapping[str, Sequence[Phone]] | None = None, steps: int = 400,
    seed: int = 0,
) -> PseudotextStatistics:  # fmt: skip
    """Describe the pseudo-text of a split; language models are fitted on a part of train; ``steps`` 0: n-gram only.

    Raises
    ------
    UsageError
        If the bundle has no pseudo-text model, or a split is empty.
    InputRefused
        If the bundle cannot be read, or no recording of a split; single ones are left out (``corpus.refused``).
    """
    inventory = Units.load(bundle)
    model = inventory.pseudotext
    transcripts = [
        UnitTranscript(id=row.id, duration_s=row.duration_s, units=found)
        for row, found in inventory.recordings(corpus.split(split), corpus.refuse)
    ]
    fitted = part(corpus.split("train"), FITTED_FRAMES, seed)
    train = [merged(found) for _, found in inventory.recordings(fitted, corpus.refuse)]
    held = [merged(row.units) for row in transcripts]
    recordings = [read_pieces(row, model) for row in transcripts]
    counts = piece_counts(recordings)
    total_s = sum(row.duration_s for row in transcripts)
    units, pieces = sum(map(len, held)), counts.total()
    figures = {
        "split": split,
        "clusters": inventory.clusters,
        "units": units,
        "units_a_second": units / total_s,
        "pieces": pieces,
        "piece_types": len(counts),
        "units_a_piece": units / max(pieces, 1),
        "zipf_slope": zipf_slope(list(counts.values())),
        **_bits(train, held, inventory.clusters, units / total_s, steps, seed),
        **{name: {key: found.to_tree() for key, found in piece_segmentation(recordings, truth).items()}
           for name, truth in (("phones", corpus.phones), ("words", words or {})) if truth},
        "candidates": candidates(recordings),
    }  # fmt: skip
    return PseudotextStatistics(figures=figures, transcripts=transcripts)


def _bits(
    train: Sequence[IntArray], held: Sequence[IntArray], clusters: int, rate_hz: float, steps: int, seed: int
) -> dict[str, float]:
    """Return upper bounds of the entropy rate of merged units, by both language models."""
    ngram = held_out_predictability(train, held, clusters)
    found = {"entropy_bits": ngram.entropy_bits, "ngram_bits_a_unit": ngram.conditional_bits}
    if steps:
        found["recurrent_bits_a_unit"] = bits_a_unit(fit_language_model(train, clusters, steps=steps, seed=seed), held)
    bits = min(value for name, value in found.items() if name.endswith("_bits_a_unit"))
    return found | {"entropy_rate_bits_a_unit": bits, "entropy_rate_bits_a_second": bits * rate_hz}
