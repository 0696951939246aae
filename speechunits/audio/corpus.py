"""A corpus as the stages see it: recordings with their splits, and phones where they are known."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from speechunits.audio.card import absent_message, read_card
from speechunits.audio.load import load_waveform, verify
from speechunits.audio.manifest import Recording, check_durations, quoted, read_manifest
from speechunits.audio.phones import SILENCE, UNKNOWN, Phone, read_phones
from speechunits.audio.split import cut_tune, split
from speechunits.config import CorpusConfig
from speechunits.errors import InputRefused, UsageError

SPLIT_SEED = 0
"""The same for every run: what is held out must not depend on the seed of an experiment."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Recordings of all splits, ``tune`` already cut from train."""

    manifest: Path
    recordings: tuple[Recording, ...]
    phones: Mapping[str, Sequence[Phone]]
    """Phones by recording id; empty where none are known."""
    emptied: frozenset[str] = frozenset()
    """Splits all of whose recordings were refused."""
    refused: list[str] = field(default_factory=list)
    """What could not be used so far, each named on stderr as it was met."""

    def refuse(self, name: str, reason: str) -> None:
        """Name a recording that cannot be used on stderr, once, and keep it in ``refused``."""
        if name not in self.refused:
            print(f"refused: {name}: {reason}", file=sys.stderr, flush=True)
            self.refused.append(name)

    def split(self, name: str) -> list[Recording]:
        """Return the recordings of a split.

        Raises
        ------
        InputRefused
            If all its recordings were refused.
        UsageError
            If the split is empty.
        """
        chosen = [recording for recording in self.recordings if recording.split == name]
        if not chosen and (name in self.emptied or (self.refused and not self.recordings)):
            raise InputRefused(f"{self.manifest}: no recording of split {name!r} can be used; each is named above")
        if not chosen:
            present = ", ".join(sorted({recording.split or "none" for recording in self.recordings}))
            raise UsageError(f"{self.manifest} has no recording in split {name!r}; its splits are: {present}")
        return chosen


def load_corpus(config: CorpusConfig) -> Corpus:
    """Read a recipe's corpus: manifest, splits by the protocol, phones.

    Raises
    ------
    UsageError
        If the corpus is absent (its card's instructions are in the message) or its manifest has faults. Recordings
        that cannot be read, and durations that are wrong, are named on stderr; the rest goes on.
    """
    for path in (config.manifest, config.phones):
        if path is not None and not path.exists():
            hint = absent_message(read_card(config.card)) if config.card is not None else "check the path"
            raise UsageError(f"{path} does not exist. {hint}")
    rows = read_manifest(config.manifest)
    recordings, warnings, refused = check_durations(rows)
    for line in [*warnings, *(f"refused: {error}" for error in refused)]:
        print(line, file=sys.stderr)
    # Of the whole manifest: a file out of reach for a day must not move others from train to what is held out.
    divided, warnings = split([_text_of(row, config) for row in rows], SPLIT_SEED)
    divided, durations_s = cut_tune(divided, SPLIT_SEED), {row.id: row.duration_s for row in recordings}
    kept = tuple(replace(row, duration_s=durations_s[row.id]) for row in divided if row.id in durations_s)
    for warning in [*warnings, *quoted(config.manifest, rows)]:
        print(f"warning: {warning}", file=sys.stderr)
    return Corpus(
        manifest=config.manifest,
        recordings=kept,
        phones=read_phones(config.phones) if config.phones is not None else {},
        emptied=frozenset(row.split for row in divided if row.split).difference(row.split for row in kept),
        refused=[str(error) for error in refused],
    )


def corpus_of(manifest: Path, phones: Path | None = None, *, strip_marks: bool = False) -> Corpus:
    """Return the corpus of a manifest given on the command line."""
    return load_corpus(CorpusConfig(manifest=manifest, phones=phones, strip_marks=strip_marks))


def readable(corpus: Corpus, splits: Collection[str]) -> Corpus:
    """Return the corpus without the recordings of some splits that cannot be decoded to their end; each is refused.

    What is wrong within a file its header does not say.
    """
    kept = []
    for recording in corpus.recordings:
        try:
            if recording.split in splits:
                _decode(recording)
        except InputRefused as error:
            corpus.refuse(recording.id, str(error))
        else:
            kept.append(recording)
    return replace(corpus, recordings=tuple(kept))


def drawn(recordings: Sequence[Recording], hours: float) -> list[Recording]:
    """Return recordings drawn with a fixed seed until they reach so many hours, in the order given."""
    kept: set[int] = set()
    total_s = 0.0
    for place in np.random.default_rng(0).permutation(len(recordings)).tolist():
        if total_s < 3600 * hours:
            kept.add(place)
            total_s += recordings[place].duration_s
    return [row for place, row in enumerate(recordings) if place in kept]


def with_phones_as_text(corpus: Corpus) -> Corpus:
    """Return the corpus with its phones, parted by spaces and without silence, in place of its transcripts.

    Recordings without an alignment have no text then.

    Raises
    ------
    UsageError
        If no phones are known.
    """
    if not corpus.phones:
        raise UsageError(
            f"{corpus.manifest} must have phones to recognise, but none are known; name corpus.phones (or --phones)"
        )
    silent = {SILENCE, UNKNOWN}
    return replace(corpus, recordings=tuple(
        replace(row, text=" ".join(phone.label for phone in corpus.phones.get(row.id, ()) if phone.label not in silent))
        for row in corpus.recordings
    ))  # fmt: skip


def _decode(recording: Recording) -> None:
    if recording.start_s is None and recording.end_s is None:
        verify(recording.audio)
    else:
        load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s)


def _text_of(recording: Recording, config: CorpusConfig) -> Recording:
    if not config.strip_marks or recording.text is None:
        return recording
    return replace(recording, text=strip_marks(recording.text))


def strip_marks(text: str) -> str:
    """Return a text without its combining marks (tones and accents)."""
    kept = [letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter)]
    return unicodedata.normalize("NFC", "".join(kept))
