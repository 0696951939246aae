"""The embedded corpus: invented sentences spoken by espeak-ng, with transcripts and exact phone alignments."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechunits import __version__
from speechunits.audio.manifest import Recording, write_manifest
from speechunits.audio.phones import Phone, write_phones
from speechunits.audio.render import Rendered, Studio, Utterance, render
from speechunits.audio.sentences import Sentences
from speechunits.audio.speech_engine import Voice, find_loader
from speechunits.audio.split import cut_tune
from speechunits.audio.voices import RATES, VARIANTS, Speaker, speakers
from speechunits.config import to_tree
from speechunits.config.recipe import SynthConfig
from speechunits.errors import UsageError
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.run import RunFolder, read_json, write_json

SPLITS = ("train", "dev", "test")
_DONE, _BEGUN = "synth.json", "synth.unfinished.json"
_AUDIO = "audio"
_SECONDS = 10.2
"""An utterance of n letters at r words a minute takes about 10.2 n / r seconds (measured, ± 8 %)."""
_SURPLUS = 1.03
"""Share of what is missing that a round plans: a little too much takes less time than another round."""
_BABBLE = 16
"""Utterances heard in the background."""
FORMAT = 1
"""Raised when the same configuration starts to give other bytes, so that older corpora are made anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthReport:
    """What a corpus holds."""

    manifest: Path
    phones: Path
    hours: dict[str, float]
    """Of each split."""
    utterances: int
    speakers: int
    word_types: int
    phone_types: int
    made: bool
    """False where the folder held this very corpus already."""


@dataclass
class _Part:
    """A split while it is being filled."""

    name: str
    target_s: float
    people: list[Speaker]
    planned: list[Utterance]
    durations_s: dict[str, float]
    """Of the rendered utterances."""

    @property
    def kept(self) -> list[Utterance]:
        """The first planned utterances that reach the target together."""
        total_s, kept = 0.0, []
        for utterance in self.planned:
            if total_s >= self.target_s:
                break
            kept.append(utterance)
            total_s += self.durations_s[utterance.id]
        return kept

    @property
    def missing_s(self) -> float:
        """Seconds still to be spoken."""
        return self.target_s - sum(self.durations_s.values())


def split_hours(hours: float) -> dict[str, float]:
    """Return the hours of train, dev and test: each held-out part 8 %, from 6 min (but at most 15 %) to 30 min."""
    held_out = min(max(0.08 * hours, 0.1), 0.15 * hours, 0.5)
    return {"train": hours - 2 * held_out, "dev": held_out, "test": held_out}


def synthesise(
    out: Path, config: SynthConfig, *, on_progress: Callable[[float, str], None] | None = None
) -> SynthReport:
    """Write ``audio/**.flac``, ``manifest``, ``phones`` and ``words.tsv``, ``synth.json``; keep what is there.

    The same configuration gives the same bytes on one machine, whatever the number of jobs. ``synth.json`` is written
    last: a folder without it is unfinished and is made anew. ``on_progress`` is called with shares of the whole.

    Raises
    ------
    UsageError
        If espeak-ng is missing or has no such language, or ``out`` holds something else.
    """
    folder = RunFolder(out)
    identity = {"format": FORMAT, "config": {k: v for k, v in to_tree(config).items() if k != "jobs"}}
    if _finished(out, identity):
        return _report(out, read_json(out / _DONE)["summary"], made=False)
    find_loader()
    with folder.lock():
        # Another process may have finished it while this one waited.
        if _finished(out, identity):
            return _report(out, read_json(out / _DONE)["summary"], made=False)
        _clear(out)
        write_json(out / _BEGUN, identity)
        summary = _make(out, config, on_progress)
        write_json(out / _DONE, {**identity, "version": __version__, "summary": summary})
        (out / _BEGUN).unlink()
    return _report(out, summary, made=True)


def _finished(out: Path, identity: dict[str, Any]) -> bool:
    if not (out / _DONE).exists():
        return False
    found = read_json(out / _DONE)
    if {key: found.get(key) for key in identity} == identity:
        return True
    raise UsageError(
        f"{out} holds a corpus of another configuration ({found.get('config')}); choose another folder, or delete it"
    )


def _clear(out: Path) -> None:
    """Remove what an interrupted synthesis left; refuse a folder of somebody else's."""
    others = [path for path in out.iterdir() if path.name != ".lock"]
    if others and not (out / _BEGUN).exists():
        raise UsageError(
            f"{out} must be empty or hold a synthetic corpus, but holds {others[0].name}; choose another folder"
        )
    shutil.rmtree(out / _AUDIO, ignore_errors=True)


def _make(out: Path, config: SynthConfig, on_progress: Callable[[float, str], None] | None) -> dict[str, Any]:
    people = speakers(config.voices, config.languages, field=config.difficulty == "field", seed=config.seed)
    seen: dict[str, set[str]] = {language: set() for language in config.languages}
    streams = {
        language: Sentences(seed=config.seed, language=language).stream("corpus", seen[language])
        for language in config.languages
    }
    studio = _studio(config, streams)
    hours = split_hours(config.hours)
    parts = [
        _Part(name, 3600 * hours[name], [person for person in people if person.split == name], [], {})
        for name in SPLITS
    ]
    rendered: dict[str, Rendered] = {}
    left_s = {part.name: part.target_s for part in parts}
    # Durations are known once spoken, so a split is filled in rounds. What a round plans depends on earlier rounds'
    # durations only, never on which process was faster.
    while any(part.missing_s > 0 for part in parts):
        batch = [utterance for part in parts for utterance in _plan(out, part, config.seed, streams)]
        for done in render(batch, studio, jobs=config.jobs):
            rendered[done.id] = done
            part = next(part for part in parts if done.id.startswith(part.name))
            part.durations_s[done.id] = seconds = done.samples / SAMPLE_RATE_HZ
            # What is spoken beyond a split's target is no part of the whole.
            counted_s = min(seconds, left_s[part.name])
            left_s[part.name] -= counted_s
            if on_progress is not None and counted_s > 0:
                on_progress(counted_s / (3600 * config.hours), done.id)
    return _write(out, config, parts, rendered, people)


def _studio(config: SynthConfig, streams: dict[str, Iterator[str]]) -> Studio:
    generator = np.random.default_rng([config.seed, 20])
    babble = []
    for index in range(_BABBLE):
        language = config.languages[index % len(config.languages)]
        variant = str(generator.choice(VARIANTS))
        voice = Voice(f"{language}+{variant}", int(generator.integers(*RATES)), int(generator.integers(20, 81)), 50)
        babble.append((next(streams[language]), voice))
    return Studio(rate_hz=SAMPLE_RATE_HZ, field=config.difficulty == "field", babble=tuple(babble))


def _plan(out: Path, part: _Part, seed: int, streams: dict[str, Iterator[str]]) -> list[Utterance]:
    """Plan as many further utterances as the split is likely to need, speakers in turn."""
    if part.missing_s <= 0:
        return []
    first = len(part.planned)
    expected_s = 0.0
    while expected_s < _SURPLUS * part.missing_s:
        index = len(part.planned)
        person = part.people[index % len(part.people)]
        own_seed = (seed, SPLITS.index(part.name), index)
        identifier = f"{part.name}_{person.name}_{index:06d}"
        utterance = Utterance(
            id=identifier, text=next(streams[person.language]), shift=person.shift, seed=own_seed,
            voice=person.voice(np.random.default_rng([*own_seed, 1])),
            path=out / _AUDIO / person.name / f"{identifier}.flac",
        )  # fmt: skip
        part.planned.append(utterance)
        expected_s += _SECONDS * len(utterance.text) / person.words_per_minute
    return part.planned[first:]


def _write(
    out: Path, config: SynthConfig, parts: list[_Part], rendered: dict[str, Rendered], people: list[Speaker]
) -> dict[str, Any]:
    recordings = []
    for part in parts:
        kept = {utterance.id for utterance in part.kept}
        for utterance in part.planned:
            if utterance.id not in kept:
                utterance.path.unlink()
                continue
            recordings.append(
                Recording(
                    id=utterance.id, audio=utterance.path, duration_s=part.durations_s[utterance.id],
                    speaker=utterance.path.parent.name, split=part.name, text=utterance.text,
                )
            )  # fmt: skip
    recordings = cut_tune(recordings, config.seed)
    phones = {recording.id: _timed(rendered[recording.id].phones) for recording in recordings}
    write_phones(out / "phones.tsv", phones)
    write_phones(out / "words.tsv", {recording.id: _timed(rendered[recording.id].words) for recording in recordings})
    write_manifest(out / "manifest.tsv", recordings)
    seconds: dict[str, float] = defaultdict(float)
    for recording in recordings:
        seconds[recording.split or ""] += recording.duration_s
    labels = Counter(phone.label for intervals in phones.values() for phone in intervals)
    return {
        "hours": {name: total_s / 3600 for name, total_s in seconds.items()},
        "utterances": len(recordings),
        "speakers": len({recording.speaker for recording in recordings}),
        "word_types": len({word for recording in recordings for word in (recording.text or "").split()}),
        "phone_types": len(labels),
        "voices": [to_tree(person) for person in people],
    }


def _timed(intervals: Iterable[tuple[float, float, str]]) -> list[Phone]:
    return [Phone(start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ, label) for start, end, label in intervals]


def _report(out: Path, summary: dict[str, Any], *, made: bool) -> SynthReport:
    figures = {key: value for key, value in summary.items() if key != "voices"}
    return SynthReport(manifest=out / "manifest.tsv", phones=out / "phones.tsv", made=made, **figures)
