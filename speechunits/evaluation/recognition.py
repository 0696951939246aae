"""Error rates of a recogniser on labelled recordings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from speechunits.asr.decode import SpeechRecognizer, greedy_text, recording_posteriors
from speechunits.asr.hypothesis import Precision
from speechunits.asr.tokens import transcript
from speechunits.audio.corpus import Corpus, with_phones_as_text
from speechunits.audio.load import printable
from speechunits.errors import InputRefused, UsageError
from speechunits.evaluation.edit import character_edits, error_rate, word_edits


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Σ edits / Σ reference units over a set of recordings."""

    cer: float | None
    """Over code points; None of a recogniser of phones."""
    wer: float
    """Over what white space parts: words, or phones."""
    recordings: int
    all_blank: bool
    """Nothing at all was recognised."""
    unknown: Counter[str] = field(default_factory=Counter)
    """What the references hold and the recogniser cannot write, characters or phones, with its count."""


def evaluate_recognizer(model: Path, corpus: Corpus, split: str, *, precision: Precision = "fp32") -> ErrorRates:
    """Recognise the recordings of a split that have a text and compare, over phones where the recogniser writes them.

    A recording that cannot be read is named and left out (``corpus.refused``).

    Raises
    ------
    UsageError
        If none has a text, or phones are recognised and none are known, or are known and texts are recognised.
    InputRefused
        If the bundle cannot be read, or no recording.
    """
    recognizer = SpeechRecognizer.load(model).recognizer
    tokenizer = recognizer.tokenizer
    if corpus.phones and not tokenizer.spaced:
        raise UsageError(
            f"phones are for a recogniser of phones, but {printable(model)} writes texts and is compared with those of "
            "the manifest; leave out --phones"
        )
    held = (with_phones_as_text(corpus) if tokenizer.spaced else corpus).split(split)
    labelled = [recording for recording in held if transcript(recording)]
    if not labelled:
        raise UsageError(f"error rates need texts, but none of the {len(held)} recordings of {split} has one")
    heard = recording_posteriors(recognizer, labelled, precision=precision, on_fault=corpus.refuse)
    pairs = [(transcript(recording), greedy_text(recognizer, posteriors)) for recording, posteriors in heard]
    if not pairs:
        raise InputRefused(f"no recording of split {split!r} can be read; each is named above")
    unknown: Counter[str] = Counter()
    for reference, _ in pairs:
        tokenizer.encode(reference, unknown)
    return ErrorRates(
        cer=None if tokenizer.spaced else error_rate(character_edits(*pair) for pair in pairs),
        wer=error_rate(word_edits(*pair) for pair in pairs),
        recordings=len(pairs),
        all_blank=not any(hypothesis for _, hypothesis in pairs),
        unknown=unknown,
    )
