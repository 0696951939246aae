"""Every layer of an encoder at once: k-means units, their criteria, and where phones are known their PNMI."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.augment import augment
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.config import UnitsConfig, ViewsConfig
from speechunits.encoder.encoder import LATENTS, encoder_from_export
from speechunits.errors import UsageError
from speechunits.evaluation.criteria import LayerUnits, measure
from speechunits.evaluation.phones import unit_quality
from speechunits.frames import FRAME_RATE_HZ
from speechunits.units.extract import FeatureExtractor, FloatArray, OnFault, map_recordings
from speechunits.units.features import LayerFeatures, smoothed
from speechunits.units.fit import fit_points, read_source, sample_recordings
from speechunits.units.sample import part
from speechunits.units.units import assign_points

IntArray = NDArray[np.int64]

SAMPLE_FRAMES = 50_000
"""Frames k-means is fitted on, a quarter of what the final units get: layers are only compared."""
_SAMPLE_VALUES = 1 << 27
"""Numbers of the sample over all layers together (half a gigabyte)."""
TRAIN_FRAMES = 90_000
"""Frames the predictor is fitted on."""
_ABX_FRAMES = 2_000
_ALTERATIONS = ViewsConfig(speed=0.0, dropped_s=0.0, dropped_hz=0.0)
"""What is said, and when, stays: pitch, rooms, noise, equaliser."""
_USING_TRAIN = {"predictability", "run_predictability"}
_USING_VIEWS = {"view_information", "view_abx"}


@dataclass(frozen=True, kw_only=True)
class LayerScores:
    """What was measured of every layer."""

    scores: Mapping[str, list[float]]
    """Criterion to its values by layer."""
    pnmi: list[float]
    """PNMI without silence by layer; empty where no phones were given."""
    pnmi_corrected: list[float]
    abx: list[float] = field(default_factory=list)
    """ABX error across speakers of each layer's frames, where it was measured (``evaluation.survey``)."""

    def to_tree(self) -> dict[str, Any]:
        """Return plain numbers."""
        tree = {"scores": dict(self.scores), "pnmi": self.pnmi, "pnmi_corrected": self.pnmi_corrected}
        return {**tree, "abx": self.abx} if self.abx else tree


class Choice(NamedTuple):
    """A layer and the number of units fitted on it."""

    layer: int
    clusters: int


def first_layer(config: UnitsConfig) -> int:
    """Return the first of the layers that are compared."""
    return LATENTS if config.latents else 0


class LayerUnitsFinder:
    """Units of every layer (or choice) in one pass over a recording, by centroids fitted on one sample of train."""

    def __init__(
        self, encoder: Path, train: Sequence[Recording], config: UnitsConfig, *, sample_frames: int, halves: bool,
        choices: Sequence[Choice] | None = None, on_fault: OnFault | None = None,
    ) -> None:  # fmt: skip
        # Layers are compared by their first codebook.
        config = replace(config, source="kmeans", layer=0, residual_clusters=0, stream_passes=0)
        tensors, header = read_source(encoder, config)
        network = encoder_from_export(tensors, header)
        every = range(first_layer(config), network.num_layers + 1)
        self.choices = choices or [Choice(layer, config.clusters) for layer in every]
        layers = sorted({choice.layer for choice in self.choices})
        self.extractor = FeatureExtractor(smoothed(LayerFeatures(network, layers, config.precision), config.smooth))
        stops = np.cumsum(self.extractor.source.widths)
        columns = dict(zip(layers, np.split(np.arange(self.extractor.dim), stops[:-1]), strict=True))
        self.columns = [columns[choice.layer] for choice in self.choices]
        size = min(config.sample_frames, sample_frames, _SAMPLE_VALUES // self.extractor.dim)
        points = sample_recordings(self.extractor, part(train, size, config.seed), config, size, on_fault)
        self.fitted = self._fit(points, config)
        # Which frame comes where in the sample is random already.
        self.halves = [
            self._fit(points[side::2], replace(config, seed=config.seed + side)) for side in (0, 1) if halves
        ]

    def _fit(self, points: FloatArray, config: UnitsConfig) -> list[dict[str, Tensor]]:
        return [
            fit_points(points[:, column], replace(config, clusters=choice.clusters))[0]
            for choice, column in zip(self.choices, self.columns, strict=True)
        ]

    def features(self, waveform: FloatArray) -> FloatArray:
        """Return all layers of ``(T,)`` samples side by side, ``(S, Σ D)``."""
        return self.extractor.features(waveform)

    def units(self, features: FloatArray, fitted: Sequence[Mapping[str, Tensor]] | None = None) -> list[IntArray]:
        """Return the ``(S,)`` units of each layer."""
        pairs = zip(self.columns, fitted or self.fitted, strict=True)
        return [assign_points(features[:, column], centroids) for column, centroids in pairs]


def measure_layers(
    encoder: Path,
    train: Sequence[Recording],
    tune: Sequence[Recording],
    config: UnitsConfig,
    names: Collection[str],
    *,
    sample_frames: int = SAMPLE_FRAMES,
    train_frames: int = TRAIN_FRAMES,
    judged: Sequence[tuple[Recording, Sequence[Phone]]] = (),
    choices: Sequence[Choice] | None = None,
    on_fault: OnFault | None = None,
) -> LayerScores:
    """Fit ``config.clusters`` units on every layer and measure the named criteria on ``tune``; streamed.

    ``choices`` take the place of layers where they are given: one layer with several numbers of units. ``judged`` are
    recordings with their phones: PNMI by layer, for finding out how good a criterion is.

    Raises
    ------
    UsageError
        If ``tune`` is empty, or train has fewer frames than clusters.
    """
    if not tune:
        raise UsageError("choosing a layer needs held-out speech (the split `tune`), but there is none; give a number")
    finder = LayerUnitsFinder(
        encoder, train, config, sample_frames=sample_frames, halves="stability" in names, choices=choices,
        on_fault=on_fault,
    )  # fmt: skip
    seen: list[list[IntArray]] = []
    if _USING_TRAIN & set(names):
        wanted = part(train, train_frames, config.seed)
        seen = [
            found
            for _, found in map_recordings(lambda waveform: finder.units(finder.features(waveform)), wanted, on_fault)
        ]
    held = _held_out(finder, tune, config, views=bool(_USING_VIEWS & set(names)), on_fault=on_fault)
    scores: dict[str, list[float]] = {}
    for layer, choice in enumerate(finder.choices):
        picked = [row.of_layer(layer, finder.columns[layer]) for row in held]
        found = measure(
            LayerUnits(
                clusters=choice.clusters,
                train=[row[layer] for row in seen],
                held_out=[row.units for row in picked],
                halves=([row.halves[0] for row in picked], [row.halves[1] for row in picked]),
                altered=[row.altered for row in picked],
                features=np.concatenate([row.features for row in picked]),
                altered_features=np.concatenate([row.altered_features for row in picked]),
                speakers=[row.speaker for row in held],
            ),
            names,
        )
        for name, value in found.items():
            scores.setdefault(name, []).append(value)
    pnmi = _judge(finder, judged, on_fault)
    return LayerScores(scores=scores, pnmi=[raw for raw, _ in pnmi], pnmi_corrected=[kept for _, kept in pnmi])


@dataclass(frozen=True, kw_only=True)
class _LayerRow:
    units: IntArray
    altered: IntArray
    halves: tuple[IntArray, IntArray]
    features: FloatArray
    altered_features: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """A held-out recording: units by layer, and a few frames' features of all layers."""

    speaker: str | None
    units: list[IntArray]
    altered: list[IntArray]
    halves: tuple[list[IntArray], list[IntArray]]
    features: FloatArray
    altered_features: FloatArray

    def of_layer(self, layer: int, column: IntArray) -> _LayerRow:
        return _LayerRow(
            units=self.units[layer], altered=self.altered[layer],
            halves=(self.halves[0][layer], self.halves[1][layer]),
            features=self.features[:, column], altered_features=self.altered_features[:, column],
        )  # fmt: skip


def _held_out(
    finder: LayerUnitsFinder, tune: Sequence[Recording], config: UnitsConfig, *, views: bool, on_fault: OnFault | None
) -> list[_Heard]:
    total = sum(row.duration_s for row in tune) * FRAME_RATE_HZ
    stride = max(1, int(total // _ABX_FRAMES))

    def heard(waveform: FloatArray) -> _Heard:
        features = finder.features(waveform)
        # Seeded by the sound itself: what is heard depends on neither the order of recordings nor their number.
        seed = [config.seed, zlib.crc32(waveform.tobytes())]
        other = finder.features(augment(waveform, _ALTERATIONS, np.random.default_rng(seed))) if views else features
        halves = [finder.units(features, fitted) for fitted in finder.halves] or [finder.units(features)] * 2
        return _Heard(
            speaker=None, units=finder.units(features), altered=finder.units(other), halves=(halves[0], halves[1]),
            features=features[::stride].copy(), altered_features=other[::stride].copy(),
        )  # fmt: skip

    return [replace(found, speaker=row.speaker) for row, found in map_recordings(heard, tune, on_fault)]


def _judge(
    finder: LayerUnitsFinder,
    judged: Sequence[tuple[Recording, Sequence[Phone]]],
    on_fault: OnFault | None,
) -> list[tuple[float, float]]:
    if not judged:
        return []
    phones = {row.id: spoken for row, spoken in judged}
    rows = [
        (phones[row.id], found)
        for row, found in map_recordings(
            lambda waveform: finder.units(finder.features(waveform)), [row for row, _ in judged], on_fault
        )
    ]
    qualities = [
        unit_quality([(found[place], spoken) for spoken, found in rows], choice.clusters).without_silence
        for place, choice in enumerate(finder.choices)
    ]
    return [(quality.pnmi, quality.pnmi_corrected) for quality in qualities]
