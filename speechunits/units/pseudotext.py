"""Units as text: sentencepiece over an alphabet of one private code point a unit.

Private-use code points meet no rule about letters, digits, scripts or spaces, so nothing is normalised away and any
sequence of units comes back exactly.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.errors import InputRefused, ModelRefused, UsageError
from speechunits.run import atomic_path

_RANGES = ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))
"""Private use: the basic plane's 6400 code points, then the two supplementary planes."""
MAX_UNITS = sum(last - first + 1 for first, last in _RANGES)
_SPECIALS = 3
"""Unknown, start and end of sentence."""
_LINE_UNITS = 30
"""Training sentences are cut to this length. Sentencepiece silently leaves out those over its limit, and its unigram
model finds few pieces in long ones without spaces (300 words, 500 pieces: 2.9 units a piece here, 1.3 at 1000)."""

Units = Sequence[int] | NDArray[np.int64]


def unit_character(unit: int) -> str:
    """Return the private code point of a unit."""
    rest = int(unit)
    for first, last in _RANGES:
        if 0 <= rest <= last - first:
            return chr(first + rest)
        rest -= last - first + 1
    raise UsageError(f"pseudo-text holds at most {MAX_UNITS} units, but unit {unit} was given")


def character_unit(character: str) -> int:
    """Return the unit of a private code point; the inverse of :func:`unit_character`."""
    code, before = ord(character), 0
    for first, last in _RANGES:
        if first <= code <= last:
            return before + code - first
        before += last - first + 1
    raise InputRefused(f"pseudo-text must hold private code points only, but has {character!r}")


class Pseudotext:
    """A sentencepiece model over units.

    A piece is written as its units joined by hyphens, ``12-7-7``: readable, and exact to take apart again.
    """

    def __init__(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - 40 ms, needed only for pseudo-text

        self.model = model
        """The sentencepiece model file's bytes."""
        try:
            self._processor: Any = SentencePieceProcessor(model_proto=model)
            self.clusters = 1 + max(
                character_unit(piece) for piece in map(self._processor.id_to_piece, range(len(self))) if len(piece) == 1
            )
        except (RuntimeError, ValueError) as error:
            raise ModelRefused(f"this is no sentencepiece model over units ({error}); fit it again") from error

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    @classmethod
    def fit(cls, sequences: Iterable[Units], clusters: int, *, pieces: int, model: str = "unigram") -> Pseudotext:
        """Fit ``pieces`` pieces on sequences of units in ``[0, clusters)`` (merged runs, usually).

        Every unit is kept as a piece of its own, so units that the sequences lack can still be encoded.

        Raises
        ------
        UsageError
            If the vocabulary cannot hold the alphabet, the inventory is too large, or the model type is unknown.
        """
        from sentencepiece import SentencePieceTrainer  # noqa: PLC0415

        if clusters > MAX_UNITS:
            raise UsageError(f"pseudo-text holds at most {MAX_UNITS} units, but the inventory has {clusters}")
        if pieces < clusters + _SPECIALS:
            raise UsageError(
                f"pieces must be at least {clusters + _SPECIALS} ({clusters} units and {_SPECIALS} specials), "
                f"but is {pieces} instead"
            )
        if model not in ("unigram", "bpe"):
            raise UsageError(f"the pseudo-text model must be unigram or bpe, but is {model!r} instead")
        written = io.BytesIO()
        SentencePieceTrainer.train(
            sentence_iterator=_sentences(sequences, clusters), model_writer=written, model_type=model,
            vocab_size=pieces, hard_vocab_limit=False, character_coverage=1.0, byte_fallback=False,
            normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
            split_by_unicode_script=False, split_by_whitespace=False, split_by_number=False,
            max_sentence_length=4 * _LINE_UNITS, num_threads=1, minloglevel=2,
        )  # fmt: skip
        return cls(written.getvalue())

    def encode_ids(self, units: Units) -> list[int]:
        """Return the piece numbers of a sequence of units.

        Raises
        ------
        InputRefused
            If a unit is outside the inventory.
        """
        for unit in units:
            if not 0 <= unit < self.clusters:
                raise InputRefused(f"units must be within [0, {self.clusters}), but one is {unit}")
        return list(self._processor.encode("".join(map(unit_character, units))))

    def decode_ids(self, ids: Sequence[int]) -> list[int]:
        """Return the units of piece numbers; specials stand for none."""
        for number in ids:
            if not 0 <= number < len(self):
                raise InputRefused(f"piece numbers must be within [0, {len(self)}), but one is {number}")
        return [unit for number in ids for unit in self._units(number)]

    def encode(self, units: Units) -> list[str]:
        """Return the pieces of a sequence of units, each as its units joined by hyphens."""
        return ["-".join(map(str, self._units(number))) for number in self.encode_ids(units)]

    def decode(self, pieces: Sequence[str]) -> list[int]:
        """Return the units of written pieces."""
        try:
            units = [int(unit) for piece in pieces for unit in piece.split("-")]
        except ValueError as error:
            raise InputRefused(f"a piece must be units joined by hyphens, as in 12-7, but is not: {error}") from error
        for unit in units:
            if unit >= self.clusters:
                raise InputRefused(f"units must be within [0, {self.clusters}), but one is {unit}")
        return units

    def _units(self, number: int) -> list[int]:
        if self._processor.is_control(number) or self._processor.is_unknown(number):
            return []
        return [character_unit(character) for character in self._processor.id_to_piece(number)]

    def save(self, path: Path) -> None:
        """Write a plain sentencepiece ``.model`` file."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.model)


def _sentences(sequences: Iterable[Units], clusters: int) -> Iterator[str]:
    # The alphabet comes first: sentencepiece's own list of required characters does not add absent ones.
    yield from map(unit_character, range(clusters))
    for sequence in sequences:
        for start in range(0, len(sequence), _LINE_UNITS):
            yield "".join(map(unit_character, sequence[start : start + _LINE_UNITS]))
