"""Planned utterances into FLAC files, by worker processes; the bytes depend on neither their number nor the order.

The workers import neither torch nor anything else heavy (hence the rate as a value): they start and fork cheaply.
"""

from __future__ import annotations

import errno
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from speechunits.audio.degrade import Samples, degrade, set_level
from speechunits.audio.speech_engine import Speech, SpeechEngine, Voice
from speechunits.errors import UsageError
from speechunits.processes import in_processes
from speechunits.run import full_disk_named

CLEAN_LEVEL_DB = -23.0
_PAUSE_LABEL = "SIL"


class Utterance(NamedTuple):
    """What is to be spoken, by whom, into which file."""

    id: str
    text: str
    voice: Voice
    shift: float
    """Factor on pitch and formants; the tempo stays."""
    seed: tuple[int, ...]
    """Seeds the room, noise and level of this utterance."""
    path: Path


class Rendered(NamedTuple):
    """What was written: the length in samples, and phones and words as (start, end, label) in samples."""

    id: str
    samples: int
    phones: list[tuple[float, float, str]]
    words: list[tuple[float, float, str]]


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What all utterances share."""

    rate_hz: int
    field: bool
    """Field recordings, or clean ones."""
    babble: tuple[tuple[str, Voice], ...]
    """Texts and voices of the people in the background."""


def render(utterances: Sequence[Utterance], studio: Studio, *, jobs: int) -> Iterator[Rendered]:
    """Write every utterance's file and yield its alignment, in the order they are finished.

    Raises
    ------
    UsageError
        If espeak-ng is missing or cannot speak a voice.
    """
    yield from in_processes(partial(_render_all, studio=studio), utterances, jobs, name="synthesis")


def _render_all(utterances: Iterator[Utterance], *, studio: Studio) -> Iterator[Rendered]:
    first = next(utterances, None)
    if first is None:
        return
    try:
        engine = SpeechEngine(first.voice.name.partition("+")[0])
        babble = _babble(engine, studio)
        for utterance in chain([first], utterances):
            yield render_utterance(utterance, engine, studio, babble)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise UsageError(f"cannot write the corpus: {error}; free some space, or choose another folder") from error


def render_utterance(utterance: Utterance, engine: SpeechEngine, studio: Studio, babble: Samples) -> Rendered:
    """Speak, degrade and write one utterance."""
    import soundfile  # noqa: PLC0415 - not needed to plan a corpus

    samples, phones, words = _spoken(engine, utterance.text, utterance.voice, utterance.shift, studio.rate_hz)
    if studio.field:
        voiced = np.zeros(len(samples), bool)
        for start, end, label in phones:
            voiced[round(start) : round(end)] = label != _PAUSE_LABEL
        samples = degrade(samples, voiced, babble, studio.rate_hz, np.random.default_rng(utterance.seed))
    else:
        samples = set_level(samples, CLEAN_LEVEL_DB)
    utterance.path.parent.mkdir(parents=True, exist_ok=True)
    # 16-bit integers of our own rounding: what is written does not depend on the encoder's.
    whole = np.round(samples * 32767).astype(np.int16)
    with full_disk_named(utterance.path):
        soundfile.write(utterance.path, whole, studio.rate_hz, format="FLAC")
    return Rendered(utterance.id, len(samples), phones, words)


def _babble(engine: SpeechEngine, studio: Studio) -> Samples:
    if not studio.field:
        return np.zeros(1, np.float32)
    return np.concatenate(
        [
            set_level(_spoken(engine, text, voice, 1.0, studio.rate_hz)[0], CLEAN_LEVEL_DB)
            for text, voice in studio.babble
        ]
    )


def _spoken(
    engine: SpeechEngine, text: str, voice: Voice, shift: float, rate_hz: int
) -> tuple[Samples, list[tuple[float, float, str]], list[tuple[float, float, str]]]:
    """Return speech with pitch and formants multiplied by ``shift``, phones from 0 to its end in samples, and words.

    The speech is read as if it had been sampled ``shift`` times as fast, after being spoken that much slower.
    """
    import soxr  # noqa: PLC0415 - as soundfile

    slower = voice._replace(words_per_minute=round(voice.words_per_minute / shift))
    spoken = engine.speak(text, slower)
    source_hz = engine.rate_hz * shift
    samples: npt.NDArray[np.float32] = soxr.resample(
        spoken.samples / np.float32(32768), source_hz, rate_hz, quality="HQ"
    )
    scale = rate_hz / source_hz
    starts = [(0.0, _PAUSE_LABEL), *((start * scale, label or _PAUSE_LABEL) for start, label in spoken.phones)]
    phones: list[tuple[float, float, str]] = []
    for (start, label), (end, _) in zip(starts, [*starts[1:], (float(len(samples)), "")], strict=True):
        end = min(end, len(samples))  # noqa: PLW2901 - clipped to the recording
        if end <= start:
            continue
        if phones and label == _PAUSE_LABEL == phones[-1][2]:
            phones[-1] = (phones[-1][0], end, label)
        else:
            phones.append((start, end, label))
    words = [(start * scale, min(end * scale, len(samples)), label) for start, end, label in word_times(spoken)]
    return samples, phones, words


def word_times(spoken: Speech) -> list[tuple[float, float, str]]:
    """Return start, end and spelling of words: from their first phone to their last, pauses at either side left out.

    A word is announced a little before its first phone, and after the start of the phone before it.
    """
    starts = [start for start, _ in spoken.phones]
    firsts = [bisect_left(starts, start) for start, _ in spoken.words]
    words: list[tuple[float, float, str]] = []
    for (_, label), first, after in zip(spoken.words, firsts, [*firsts[1:], len(starts)], strict=True):
        own = [place for place in range(first, after) if spoken.phones[place][1]]
        if own and label.strip():
            end = starts[own[-1] + 1] if own[-1] + 1 < len(starts) else math.inf
            words.append((starts[own[0]], end, label))
    return words
