"""Splits and label lists by the protocol: seeded, independent of the order of the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechunits.audio.manifest import Recording
from speechunits.errors import UsageError

HELD_OUT_SHARE = 0.1
"""Share of duration in dev, and in test."""
FEWEST_SPEAKERS = 6
"""With fewer speakers, a split by speaker would leave too few in each part."""
FEWEST_GROUPS = 3
"""Train, dev and test need one each."""
TUNE_SHARE = 0.05
TUNE_MAX_S = 300.0
LONGEST_TUNE_SHARE = 0.2
"""Share of train that a whole recording may take to ``tune``; where all are longer, parts of them are held out."""
Group = Callable[[Recording], str]
"""What a recording stays together with."""


def split(recordings: Sequence[Recording], seed: int) -> tuple[list[Recording], list[str]]:
    """Divide recordings into train, dev and test (.8, .1, .1 of duration), by speaker where there are at least six.

    Recordings that all have a split keep it; fewer than three recordings are all train. Where some have a transcript
    and others none, those that have are divided, and only whole speakers or files with them. Returns the recordings in
    their order, and warnings.

    Raises
    ------
    UsageError
        If only some recordings have a split.
    """
    without = sum(recording.split is None for recording in recordings)
    if recordings and without == 0:
        return list(recordings), []
    if without < len(recordings):
        raise UsageError(
            f"split must be given for all recordings or for none, but {without} of {len(recordings)} lack it"
        )
    labelled = [recording for recording in recordings if recording.text]
    divided = labelled if len(labelled) >= FEWEST_GROUPS else recordings
    group, warnings = _grouping(divided, parts=divided is labelled)
    if group is None:
        return [replace(recording, split="train") for recording in recordings], warnings
    durations: dict[str, float] = defaultdict(float)
    for recording in sorted(divided, key=lambda recording: recording.id):
        durations[group(recording)] += recording.duration_s
    names = _assign(durations, np.random.default_rng([seed, 1]))
    return [replace(recording, split=names.get(group(recording), "train")) for recording in recordings], warnings


def _grouping(divided: Sequence[Recording], *, parts: bool) -> tuple[Group | None, list[str]]:
    """Return what stays together when recordings are divided (None: all of it), and warnings.

    Speakers where there are enough, else files, else (with ``parts``) single recordings; named by their first id.
    """
    if len({recording.speaker for recording in divided if recording.speaker}) >= FEWEST_SPEAKERS:
        return lambda recording: recording.speaker or "", []
    first = _firsts(divided)
    if len(first) >= FEWEST_GROUPS:
        named = len({recording.speaker for recording in divided if recording.speaker})
        warning = f"split by recording, since there are fewer than {FEWEST_SPEAKERS} speakers ({named} named): "
        return lambda recording: first.get(recording.audio, ""), [warning + "dev and test hold speakers of train"]
    if parts and len(divided) >= FEWEST_GROUPS:
        warning = f"split by parts of recordings, since fewer than {FEWEST_GROUPS} files have transcripts "
        warning += f"({len(first)}): dev and test hold parts of recordings of train"
        return lambda recording: recording.id, [warning]
    warning = f"train, dev and test need at least {FEWEST_GROUPS} recordings, but there are {len(first)}: all are train"
    return None, [warning]


def cut_tune(recordings: Sequence[Recording], seed: int) -> list[Recording]:
    """Move 5 % of train's duration, at most 5 min, to ``tune``: speakers in proportion, no text shared with the rest.

    Recordings without text count as texts of their own, and so do the parts of one together, unless each recording of
    train is more than a fifth of it: then their parts count. A manifest that has a tune split is returned as it is, and
    so is one whose train is a single text. The shortest text is cut where 5 % are less than any. Where train has both
    recordings with a transcript and without, 5 % of either are cut: what is recognised and what only is heard.
    """
    if any(recording.split == "tune" for recording in recordings):
        return list(recordings)
    groups: dict[str, list[Recording]] = defaultdict(list)
    by_id = sorted(recordings, key=lambda recording: recording.id)
    train = [recording for recording in by_id if recording.split == "train"]
    text_group = _text_groups(recordings, train)
    for recording in train:
        groups[text_group[recording.id]].append(recording)
    elsewhere = {text_group[recording.id] for recording in recordings if recording.split != "train"}
    # One recording stands for its group, with the group's duration, so that repeated texts move together.
    heads = [
        replace(members[0], duration_s=sum(member.duration_s for member in members))
        for key, members in groups.items()
        if key not in elsewhere
    ]
    target_s = min(TUNE_SHARE * sum(recording.duration_s for recording in train), TUNE_MAX_S)
    labelled = [head for head in heads if head.text]
    labelled_s = min(TUNE_SHARE * sum(recording.duration_s for recording in train if recording.text), TUNE_MAX_S)
    kinds = [(heads, target_s, len(groups) > 1)]
    if 1 < len(labelled) < len(heads):
        rest = [head for head in heads if not head.text]
        kinds = [(labelled, labelled_s, True), (rest, target_s - labelled_s, len(rest) > 1)]
    chosen = {
        text_group[head.id]
        for part, part_s, spare in kinds
        for head in _held_out(part, part_s, spare=spare, generator=np.random.default_rng([seed, 2]))
    }
    return [
        replace(recording, split="tune")
        if recording.split == "train" and text_group[recording.id] in chosen
        else recording
        for recording in recordings
    ]


def _held_out(
    heads: list[Recording], target_s: float, *, spare: bool, generator: np.random.Generator
) -> list[Recording]:
    """Return recordings of at most ``target_s`` together, speakers in proportion; the shortest where all are longer."""
    chosen: list[Recording] = []
    total_s = 0.0
    for head in in_proportion(heads, generator):
        if head.duration_s > target_s:
            continue
        if total_s + head.duration_s > target_s:
            break
        total_s += head.duration_s
        chosen.append(head)
    if not chosen and heads and spare:
        chosen.append(min(heads, key=lambda head: (head.duration_s, head.id)))
    return chosen


def label_list(recordings: Sequence[Recording], minutes: float | None, seed: int) -> list[Recording]:
    """Return the labelled recordings of a budget: a seeded order of train, speakers in proportion, up to ``minutes``.

    Lists of one seed are nested: a smaller budget's is a prefix of a larger one's. ``None`` is all of train.

    Raises
    ------
    UsageError
        If train holds no label, or fewer labelled minutes than the budget.
    """
    train = [recording for recording in recordings if recording.split == "train"]
    labelled = [recording for recording in train if recording.text]
    if not labelled:
        raise UsageError(
            f"labels are the texts of train, but none of its {len(train)} recordings has one; make a manifest that has "
            "them: `speechunits manifest FOLDER --labels DIR -o MANIFEST.tsv`"
        )
    order = in_proportion(labelled, np.random.default_rng([seed, 3]))
    if minutes is None:
        return order
    totals_s = np.cumsum([recording.duration_s for recording in order])
    if totals_s[-1] < 60 * minutes:
        raise UsageError(
            f"a budget of {minutes:g} min of labels needs as much transcribed speech in train, but there are "
            f"{totals_s[-1] / 60:.2f} min; lower the budget, or use all labels (`speechunits finetune --minutes all`)"
        )
    return order[: int(np.searchsorted(totals_s, 60 * minutes)) + 1]


def in_proportion(recordings: Sequence[Recording], generator: np.random.Generator) -> list[Recording]:
    """Return a random order any prefix of which holds the speakers in proportion to their duration.

    Each speaker's recordings are shuffled and laid end to end on [0, 1]; a recording is placed at a random point of
    its stretch, the same share along it for all of a speaker (systematic sampling), and the places are sorted.
    """
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(recordings, key=lambda recording: recording.id):
        by_speaker[recording.speaker or ""].append(recording)
    placed: list[tuple[float, str, Recording]] = []
    for _, own in sorted(by_speaker.items()):
        shuffled = [own[index] for index in generator.permutation(len(own))]
        durations_s = np.array([recording.duration_s for recording in shuffled])
        total_s = durations_s.sum() or 1.0
        places = (np.cumsum(durations_s) - durations_s * generator.random()) / total_s
        placed += [(float(place), recording.id, recording) for place, recording in zip(places, shuffled, strict=True)]
    return [recording for _, _, recording in sorted(placed, key=lambda item: item[:2])]


def _firsts(recordings: Sequence[Recording]) -> dict[Path, str]:
    """Return what stands for each file, the first id in it: parts of one file are split together."""
    first: dict[Path, str] = {}
    for recording in recordings:
        first[recording.audio] = min(first.get(recording.audio, recording.id), recording.id)
    return first


def _text_groups(recordings: Sequence[Recording], train: Sequence[Recording]) -> dict[str, str]:
    """Return what each recording shares a text with: by its text, and without one the file that it is a part of."""
    first = _firsts(recordings)
    originals = {recording.id: first[recording.audio] for recording in recordings}
    lengths_s: dict[str, float] = defaultdict(float)
    for recording in train:
        lengths_s[originals[recording.id]] += recording.duration_s
    whole = bool(lengths_s) and min(lengths_s.values()) <= LONGEST_TUNE_SHARE * sum(lengths_s.values())
    return {
        recording.id: f"text {recording.text}"
        if recording.text
        else f"id {originals[recording.id] if whole else recording.id}"
        for recording in recordings
    }


def _assign(durations_s: dict[str, float], generator: np.random.Generator) -> dict[str, str]:
    """Return the groups of dev and test: in a random order, each as long as it brings the split closer to its share."""
    target_s = HELD_OUT_SHARE * sum(durations_s.values())
    names = sorted(durations_s)
    free = [names[index] for index in generator.permutation(len(names))]
    assigned: dict[str, str] = {}
    # The parts still to be filled, train last, need a group each.
    for part, needed in (("test", 2), ("dev", 1)):
        total_s = 0.0
        for name in list(free):
            if len(free) > needed and abs(total_s + durations_s[name] - target_s) < abs(total_s - target_s):
                total_s += durations_s[name]
                assigned[name] = part
                free.remove(name)
        if part not in assigned.values():
            shortest = min(free, key=lambda name: (durations_s[name], name))
            assigned[shortest] = part
            free.remove(shortest)
    return assigned
