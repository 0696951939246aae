"""Error rates of a recogniser on labelled recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechunits.asr.decode import SpeechRecognizer, transcribe_recordings
from speechunits.asr.hypothesis import Precision
from speechunits.asr.tokens import transcript
from speechunits.audio.manifest import Recording
from speechunits.errors import UsageError
from speechunits.evaluation.edit import character_edits, error_rate, word_edits


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Σ edits / Σ reference units over a set of recordings."""

    cer: float
    wer: float
    recordings: int
    all_blank: bool
    """Nothing at all was recognised."""


def evaluate_recognizer(model: Path, recordings: Sequence[Recording], *, precision: Precision = "fp32") -> ErrorRates:
    """Recognise the recordings that have a text and compare.

    Raises
    ------
    UsageError
        If none has a text.
    InputRefused
        If the bundle or a recording cannot be read.
    """
    labelled = [recording for recording in recordings if transcript(recording)]
    if not labelled:
        raise UsageError(f"error rates need texts, but none of the {len(recordings)} recordings has one")
    recognizer = SpeechRecognizer.load(model).recognizer
    hypotheses = transcribe_recordings(recognizer, labelled, precision=precision)
    pairs = [(transcript(recording), heard) for recording, heard in zip(labelled, hypotheses, strict=True)]
    return ErrorRates(
        cer=error_rate(character_edits(*pair) for pair in pairs),
        wer=error_rate(word_edits(*pair) for pair in pairs),
        recordings=len(pairs),
        all_blank=not any(hypotheses),
    )
