"""Planned utterances into FLAC files, by worker processes; the bytes depend on neither their number nor the order.

The workers import neither torch nor anything else heavy (hence the rate as a value): they start and fork cheaply.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from speechunits.audio.degrade import Samples, degrade, set_level
from speechunits.audio.speech_engine import SpeechEngine, Voice
from speechunits.errors import SpeechUnitsError, UsageError

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
    """What was written: the length in samples, and the phones as (start, end, label) in samples."""

    id: str
    samples: int
    phones: list[tuple[float, float, str]]


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
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    try:
        for index in range(min(jobs, len(utterances))):
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(list(utterances[index::jobs]), studio, theirs), daemon=True)
            worker.start()
            theirs.close()
            workers.append(worker)
            pipes.append(ours)
        yield from _collect(pipes)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _collect(pipes: list[Connection]) -> Iterator[Rendered]:
    waiting = list(pipes)
    while waiting:
        for pipe in wait(waiting):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except EOFError:
                raise UsageError(
                    "a synthesis process died, perhaps for lack of memory; try again with fewer jobs"
                ) from None
            if message is None:
                waiting.remove(pipe)
                pipe.close()
            elif isinstance(message, str):
                raise UsageError(message)
            else:
                yield message


def _work(utterances: Sequence[Utterance], studio: Studio, pipe: Connection) -> None:
    """Render in this process, sending each result; then None, or the text of an error."""
    # Ctrl-C reaches the whole group: the parent alone handles it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        # PR_SET_PDEATHSIG: a killed parent takes its workers along.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    with closing(pipe):
        try:
            engine = SpeechEngine(utterances[0].voice.name.partition("+")[0])
            babble = _babble(engine, studio)
            for utterance in utterances:
                pipe.send(render_utterance(utterance, engine, studio, babble))
            pipe.send(None)
        except SpeechUnitsError as error:
            pipe.send(str(error))
        except BrokenPipeError:
            # The parent is gone, and nobody is left to tell.
            return
        except OSError as error:
            pipe.send(f"cannot write the corpus: {error}; free some space, or choose another folder")


def render_utterance(utterance: Utterance, engine: SpeechEngine, studio: Studio, babble: Samples) -> Rendered:
    """Speak, degrade and write one utterance."""
    import soundfile  # noqa: PLC0415 - not needed to plan a corpus

    samples, phones = _spoken(engine, utterance.text, utterance.voice, utterance.shift, studio.rate_hz)
    if studio.field:
        voiced = np.zeros(len(samples), bool)
        for start, end, label in phones:
            voiced[round(start) : round(end)] = label != _PAUSE_LABEL
        samples = degrade(samples, voiced, babble, studio.rate_hz, np.random.default_rng(utterance.seed))
    else:
        samples = set_level(samples, CLEAN_LEVEL_DB)
    utterance.path.parent.mkdir(parents=True, exist_ok=True)
    # 16-bit integers of our own rounding: what is written does not depend on the encoder's.
    soundfile.write(utterance.path, np.round(samples * 32767).astype(np.int16), studio.rate_hz, format="FLAC")
    return Rendered(utterance.id, len(samples), phones)


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
) -> tuple[Samples, list[tuple[float, float, str]]]:
    """Return speech with pitch and formants multiplied by ``shift``, and its phones from 0 to its end in samples.

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
    return samples, phones
