"""What probes learn from: single frames with a phone or a speaker, stretches of frames with a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import SILENCE, UNKNOWN, Phone
from speechunits.evaluation.phones import frame_phones
from speechunits.frames import SAMPLE_RATE_HZ, frame_count, frames_between

IntArray = NDArray[np.int64]
_LEFT_OUT = (SILENCE, UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled stretches of frames; parallel ``(N,)`` arrays."""

    owners: IntArray
    """Place of the recording."""
    firsts: IntArray
    afters: IntArray
    """First frame and the one after the last: their mean is classified."""
    labels: IntArray
    names: tuple[str, ...]
    """Of the classes."""


def _examples(rows: Sequence[tuple[int, int, int, str]]) -> Examples:
    names = tuple(sorted({label for *_, label in rows}))
    index = {name: place for place, name in enumerate(names)}
    table = np.array([(owner, first, after, index[label]) for owner, first, after, label in rows], np.int64)
    owners, firsts, afters, labels = table.reshape(-1, 4).T
    return Examples(owners=owners, firsts=firsts, afters=afters, labels=labels, names=names)


def _frames(recording: Recording) -> int:
    return frame_count(round(recording.duration_s * SAMPLE_RATE_HZ))


def phone_examples(recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]]) -> Examples:
    """Return every frame with a known phone, without silence."""
    return _examples([
        (owner, frame, frame + 1, label)
        for owner, recording in enumerate(recordings)
        for frame, label in enumerate(frame_phones(phones.get(recording.id, ()), _frames(recording)))
        if label is not None and label not in _LEFT_OUT
    ])  # fmt: skip


def speaker_examples(recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]]) -> Examples:
    """Return frames with their speaker: those with a known phone, every one where no phones are known."""
    rows: list[tuple[int, int, int, str]] = []
    for owner, recording in enumerate(recordings):
        if recording.speaker is None:
            continue
        aligned = phones.get(recording.id)
        labels = frame_phones(aligned, _frames(recording)) if aligned else [""] * _frames(recording)
        rows += [
            (owner, frame, frame + 1, recording.speaker)
            for frame, label in enumerate(labels)
            if label is not None and label not in _LEFT_OUT
        ]
    return _examples(rows)


def word_examples(
    recordings: Sequence[Recording], words: Mapping[str, Sequence[Phone]], *, least: int = 5, most: int = 50
) -> Examples:
    """Return the stretches of the ``most`` most frequent words heard at least ``least`` times."""
    heard = Counter(word.label for recording in recordings for word in words.get(recording.id, ()))
    ranked = sorted(heard.items(), key=lambda pair: (-pair[1], pair[0]))
    chosen = {name for name, count in ranked if count >= least and name not in _LEFT_OUT}
    chosen &= {name for name, _ in [pair for pair in ranked if pair[0] not in _LEFT_OUT][:most]}
    rows: list[tuple[int, int, int, str]] = []
    for owner, recording in enumerate(recordings):
        for start_s, end_s, label in words.get(recording.id, ()):
            first, after = frames_between(start_s, end_s, _frames(recording))
            if label in chosen and after > first:
                rows.append((owner, first, after, label))
    return _examples(rows)


def fit_recordings(recordings: Sequence[Recording], share: float, seed: int) -> NDArray[np.bool_]:
    """Return which recordings the probe is fitted on: a seeded ``share`` of each speaker's, the others test it."""
    speakers: dict[str, list[int]] = {}
    for place, recording in enumerate(recordings):
        speakers.setdefault(recording.speaker or "", []).append(place)
    chosen = np.zeros(len(recordings), bool)
    generator = np.random.default_rng(seed)
    for _, places in sorted(speakers.items()):
        chosen[generator.permutation(places)[: round(share * len(places))]] = True
    return chosen


def draw(candidates: NDArray[np.bool_], size: int, seed: int) -> IntArray:
    """Return the places of at most ``size`` candidates, drawn with ``seed``, in order."""
    places = np.flatnonzero(candidates)
    return np.sort(np.random.default_rng(seed).permutation(places)[:size])
