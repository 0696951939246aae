"""ABX of features and of units over a corpus: every source, layer and mode, with all that a score depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.special import softmax

from speechunits import __version__
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.errors import UsageError
from speechunits.evaluation.abx.dtw import Distance, FrameTokens, IntArray, Tokens, UnitTokens
from speechunits.evaluation.abx.items import Item, Span, check_items, item_frames, items_from_phones, subsample
from speechunits.evaluation.abx.score import Context, Speaker, abx_score
from speechunits.evaluation.sources import Source, columns, features_of, stacked
from speechunits.run import commit, content_key
from speechunits.units.extract import OnFault
from speechunits.units.sequence import merged
from speechunits.units.units import Units


@dataclass(frozen=True, kw_only=True)
class AbxSettings:
    """All that a score depends on besides features and items; stored with it."""

    span: Span | Literal["given"] = "triphone"
    """What items made from phones cover; ``given`` by an item file."""
    speakers: tuple[Speaker, ...] = ("within", "across")
    context: Context = "within"
    distance: Distance = "angular"
    """Of features (``kl``: of their softmax); units are compared by edit distance."""
    max_group: int | None = None
    """Most items of a phone and speaker (within context: and context); None: all."""
    max_other_speakers: int | None = 5
    """Across speakers: most speakers of X for each context, speaker and phone A."""
    seed: int = 0
    drop_last_frame: bool = False
    """Leave out the last frame of every item, as tools with the Libri-light off-by-one do."""


def measure_abx(
    sources: Sequence[Source],
    bundles: Mapping[str, Path],
    items: Sequence[Item],
    recordings: Sequence[Recording],
    settings: AbxSettings,
    on_fault: OnFault | None = None,
) -> dict[str, Any]:
    """Score sources by the distance of their frames, and unit bundles by the edit distance of their merged units.

    Returns
    -------
    ``settings``, ``version``, ``commit``, ``items`` (numbers of them, and a key of their content), ``scores``: a row
    for each source, layer and speaker mode, and ``missing``: why a mode has none, where another has.

    Raises
    ------
    UsageError
        If items and recordings do not fit each other, or hold no triple of any mode.
    InputRefused
        If a recording cannot be read and there is no ``on_fault``.
    """
    known = {recording.id: recording for recording in recordings}
    fitting = check_items(items, known)
    kept = subsample(fitting, settings.max_group, settings.seed, by_context=settings.context == "within")
    heard = [known[name] for name in dict.fromkeys(item.recording for item in kept)]
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    framed = 0
    for source in sources:
        features = features_of(source, heard, on_fault)
        order = list(features)
        starts = dict(zip(order, np.cumsum([0, *(len(features[name]) for name in order)]), strict=False))
        chosen, spans = _spans(kept, {name: len(features[name]) for name in order}, settings)
        framed = len(chosen)
        first = np.array([starts[item.recording] for item in chosen]) + spans[:, 0]
        for label, part in columns(source):
            frames = stacked(features, order, part)
            if settings.distance == "kl":
                frames = softmax(frames, axis=1)
            tokens = FrameTokens(frames, first, spans[:, 1] - spans[:, 0], settings.distance)
            named = {"source": source.name, "layer": label, "distance": settings.distance, "sha256": source.sha256}
            rows += _scores(tokens, chosen, settings, named, missing)
    for name, path in bundles.items():
        units = {recording.id: ids for recording, ids in Units.load(path).recordings(heard, on_fault)}
        chosen, spans = _spans(kept, {key: len(ids) for key, ids in units.items()}, settings)
        framed = len(chosen)
        sequences = [merged(units[item.recording][a:b]) for item, (a, b) in zip(chosen, spans, strict=True)]
        named = {"source": name, "layer": "", "distance": "edit"}
        rows += _scores(UnitTokens(sequences), chosen, settings, named, missing)
    return {
        "version": __version__, "commit": commit(), "settings": dataclasses.asdict(settings),
        "items": {
            "given": len(items), "in_split": len(fitting), "subsampled": len(kept), "with_frames": framed,
            "recordings": len(heard), "key": content_key([list(item) for item in kept]),
        },
        "scores": rows, "missing": missing,
    }  # fmt: skip


QUICK = AbxSettings(speakers=("across",), max_group=10)
"""Triphones in their context, across speakers, at most ten tokens of each: a layer costs seconds."""


def quick_abx(
    sources: Sequence[Source], recordings: Sequence[Recording], phones: Mapping[str, Sequence[Phone]]
) -> list[dict[str, Any]]:
    """Return the rows of ``QUICK`` scores, one a source and layer; none where there is no triple, or no speaker.

    Raises
    ------
    InputRefused
        If a recording cannot be read.
    """
    try:
        items = items_from_phones(recordings, phones, "triphone")
        rows: list[dict[str, Any]] = measure_abx(sources, {}, items, recordings, QUICK)["scores"]
    except UsageError:
        return []
    return rows


def _scores(
    tokens: Tokens, items: Sequence[Item], settings: AbxSettings, named: Mapping[str, str], missing: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a row for each speaker mode; why one has no triple goes to ``missing``, unless none has any."""
    rows: list[dict[str, Any]] = []
    faults: dict[str, UsageError] = {}
    for speaker in settings.speakers:
        try:
            score = abx_score(tokens, items, speaker=speaker, context=settings.context, seed=settings.seed,
                              max_other_speakers=settings.max_other_speakers)  # fmt: skip
        except UsageError as error:
            faults[speaker] = error
            continue
        rows.append({**named, "speaker": speaker, **dataclasses.asdict(score)})
    if not rows:
        raise next(iter(faults.values()))
    missing |= {speaker: str(error) for speaker, error in faults.items()}
    return rows


def _spans(items: Sequence[Item], totals: Mapping[str, int], settings: AbxSettings) -> tuple[list[Item], IntArray]:
    """Return the items that have frames, and the first frame and the one after the last of each."""
    chosen, spans = [], []
    for item in items:
        first, after = item_frames(item, totals.get(item.recording, 0), drop_last=settings.drop_last_frame)
        if after > first:
            chosen.append(item)
            spans.append((first, after))
    if not chosen:
        raise UsageError(
            f"none of {len(items)} items holds a frame (one begins every 20 ms); are the times in seconds?"
        )
    return chosen, np.array(spans, np.int64)
