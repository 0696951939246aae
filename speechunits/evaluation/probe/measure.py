"""Probes over a corpus: one protocol for every layer, beside rows that say how much of an accuracy is cheap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speechunits import __version__
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.errors import InputRefused, UsageError
from speechunits.evaluation.probe.classifier import IntArray, fit_softmax
from speechunits.evaluation.probe.examples import (
    Examples,
    draw,
    fit_recordings,
    phone_examples,
    speaker_examples,
    word_examples,
)
from speechunits.evaluation.probe.topline import context_frames, topline
from speechunits.evaluation.sources import Source, columns, each_features, open_sources
from speechunits.run import commit
from speechunits.units.extract import FloatArray, OnFault

Label = Literal["phone", "speaker", "word"]
Pool = Callable[[FloatArray, int, int], FloatArray]


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """The protocol; stored with the accuracies."""

    labels: tuple[Label, ...] = ("phone", "speaker", "word")
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each divides the recordings and draws the examples anew."""
    fit_share: float = 0.7
    """Of each speaker's recordings, where one split both fits and tests."""
    fit_examples: int = 10_000
    test_examples: int = 10_000
    l2: float = 1e-3
    iterations: int = 100


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """The examples of one seed."""

    seed: int
    fit: IntArray
    test: IntArray


_Tasks = dict[Label, tuple[Examples, list[_Trial]]]


def measure_probes(
    sources: Sequence[Source],
    fit: Sequence[Recording],
    test: Sequence[Recording],
    phones: Mapping[str, Sequence[Phone]],
    words: Mapping[str, Sequence[Phone]],
    settings: ProbeSettings,
    on_fault: OnFault | None = None,
    *,
    topline: bool = True,
) -> dict[str, Any]:
    """Probe every source for every label.

    Parameters
    ----------
    fit, test
        Recordings of both sides; the same ones twice are divided by recording, seed by seed.
    phones, words
        Alignments by recording id; where a label has none, it is skipped and the reason stored.
    topline
        Also fit the supervised network.

    Returns
    -------
    ``settings``, ``version``, ``commit``, and ``labels``: for each label its classes, chance, majority, numbers of
    examples, and ``rows`` of source, layer, mean accuracy, its spread over seeds, and the accuracies.

    Raises
    ------
    UsageError
        If no label can be probed.
    InputRefused
        If none can since recordings could not be read.
    """
    apart = {recording.id for recording in fit}.isdisjoint(recording.id for recording in test)
    recordings = [*fit, *test] if apart else list(test)
    made: dict[str, Any] = {}
    tasks: _Tasks = {}
    for label in settings.labels:
        examples = _labelled(label, recordings, phones, words)
        trials = _trials(examples, recordings, len(fit) if apart else None, settings)
        if reason := _unfit(label, examples, trials):
            made[label] = {"skipped": reason}
        else:
            tasks[label] = (examples, trials)
    if not tasks:
        raise UsageError(_nothing(made))
    for source in [*sources, *(open_sources({"": "logmel"}) if topline else [])]:
        pool = context_frames if not source.name else _mean
        pooled = _pooled(source, recordings, {label: examples for label, (examples, _) in tasks.items()},
                         {label: trials for label, (_, trials) in tasks.items()}, pool, on_fault)  # fmt: skip
        tasks = _with_examples(tasks, pooled, made)
        for label, (examples, trials) in tasks.items():
            entry = made.setdefault(label, _frame_of(examples, trials))
            entry["rows"] += _rows(source, pooled[label], examples, trials, settings)
    ordered = {label: made[label] for label in settings.labels}
    return {
        "version": __version__, "commit": commit(), "settings": dataclasses.asdict(settings), "labels": ordered,
        "divided": "fit and test are different splits" if apart else "one split, divided by recording",
    }  # fmt: skip


def _labelled(
    label: Label, recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]],
    words: Mapping[str, Sequence[Phone]],
) -> Examples:  # fmt: skip
    if label == "phone":
        return phone_examples(recordings, phones)
    return speaker_examples(recordings, phones) if label == "speaker" else word_examples(recordings, words)


def _trials(
    examples: Examples, recordings: Sequence[Recording], fitted: int | None, settings: ProbeSettings
) -> list[_Trial]:
    trials = []
    for seed in settings.seeds:
        if fitted is None:
            side = fit_recordings(recordings, settings.fit_share, seed)
        else:
            side = np.arange(len(recordings)) < fitted
        fits: NDArray[np.bool_] = side[examples.owners]
        trials.append(_Trial(seed=seed, fit=draw(fits, settings.fit_examples, seed),
                             test=draw(~fits, settings.test_examples, seed)))  # fmt: skip
    return trials


def _unfit(label: Label, examples: Examples, trials: Sequence[_Trial]) -> str:
    """Return why a label cannot be probed; empty if it can."""
    missing = {"phone": "no phone alignment of these recordings", "speaker": "no speakers in the manifest",
               "word": "no word alignment (give one: id, start, end, word) with a word heard five times"}  # fmt: skip
    if not len(examples.labels):
        return missing[label]
    if len(examples.names) < 2:
        return f"only one class, {examples.names[0]!r}"
    for trial in trials:
        if not len(trial.fit) or not len(trial.test):
            return "all examples fall on one side; take more recordings"
        if not np.isin(examples.labels[trial.test], examples.labels[trial.fit]).any():
            return "no class of the test recordings occurs in those fitted on; fit and test on one split"
    return ""


def _frame_of(examples: Examples, trials: Sequence[_Trial]) -> dict[str, Any]:
    """Return what is true of a label whatever the source."""
    majority, unseen = [], []
    for trial in trials:
        fitted, tested = examples.labels[trial.fit], examples.labels[trial.test]
        majority.append(float((tested == np.bincount(fitted).argmax()).mean()))
        unseen.append(float((~np.isin(tested, fitted)).mean()))
    return {
        "classes": len(examples.names), "chance": 1 / len(examples.names), "majority": float(np.mean(majority)),
        "unseen": float(np.mean(unseen)), "fit": [len(trial.fit) for trial in trials],
        "test": [len(trial.test) for trial in trials], "rows": [],
    }  # fmt: skip


def _mean(frames: FloatArray, first: int, after: int) -> FloatArray:
    pooled: FloatArray = frames[first : min(after, len(frames))].mean(axis=0)
    return pooled


def _pooled(
    source: Source, recordings: Sequence[Recording], tasks: Mapping[Label, Examples],
    trials: Mapping[Label, Sequence[_Trial]], pool: Pool, on_fault: OnFault | None,
) -> dict[Label, dict[int, FloatArray]]:  # fmt: skip
    """Return the features of the examples that some trial needs, by label and place; others are never kept."""
    wanted: dict[Label, dict[int, list[int]]] = {}
    for label, examples in tasks.items():
        by_owner = wanted.setdefault(label, {})
        needed = np.unique(np.concatenate([side for trial in trials[label] for side in (trial.fit, trial.test)]))
        for place in needed.tolist():
            by_owner.setdefault(int(examples.owners[place]), []).append(place)
    index = {recording.id: place for place, recording in enumerate(recordings)}
    heard = [row for place, row in enumerate(recordings) if any(place in owners for owners in wanted.values())]
    found: dict[Label, dict[int, FloatArray]] = {label: {} for label in tasks}
    for recording, features in each_features(source, heard, on_fault):
        for label, examples in tasks.items():
            for place in wanted[label].get(index[recording.id], ()):
                # A duration in a manifest may be a frame too long.
                if examples.firsts[place] < len(features):
                    found[label][place] = pool(features, int(examples.firsts[place]), int(examples.afters[place]))
    return found


def _with_examples(tasks: _Tasks, pooled: Mapping[Label, Mapping[int, FloatArray]], made: dict[str, Any]) -> _Tasks:
    """Return the tasks that have an example on either side; what cannot be read, or is too short, has none."""
    kept: _Tasks = {}
    for label, (examples, trials) in tasks.items():
        sides = [side for trial in trials for side in (trial.fit, trial.test)]
        if all(any(place in pooled[label] for place in side.tolist()) for side in sides):
            kept[label] = (examples, trials)
        else:
            made[label] = {"skipped": "no example of one side could be read; take more recordings"}
    if not kept:
        raise InputRefused(_nothing(made))
    return kept


def _nothing(made: Mapping[str, Any]) -> str:
    return "nothing can be probed: " + "; ".join(
        f"{label}: {found['skipped']}" for label, found in made.items() if "skipped" in found
    )


def _rows(
    source: Source, pooled: Mapping[int, FloatArray], examples: Examples, trials: Sequence[_Trial],
    settings: ProbeSettings,
) -> list[dict[str, Any]]:  # fmt: skip
    classes = len(examples.names)
    accuracies: dict[str, list[float]] = {label: [] for label in source.labels}
    for trial in trials:
        sides = [[place for place in side.tolist() if place in pooled] for side in (trial.fit, trial.test)]
        fitted, tested = (np.stack([pooled[place] for place in side]) for side in sides)
        labels, truth = (examples.labels[side] for side in sides)
        for label, part in [("", slice(None))] if not source.name else columns(source):
            if source.name:
                probe = fit_softmax(fitted[:, part], labels, classes, l2=settings.l2, iterations=settings.iterations)
                chosen = probe.predict(tested[:, part])
            else:
                chosen = topline(fitted, labels, tested, classes, seed=trial.seed)
            accuracies[label].append(float((chosen == truth).mean()))
    return [
        {"source": source.name or "supervised network", "layer": label, "accuracy": float(np.mean(found)),
         "spread": float(np.std(found)), "accuracies": found, "sha256": source.sha256}
        for label, found in accuracies.items()
    ]  # fmt: skip
