"""Choose an encoder's layer without labels: the one whose units are the most predictable on held-out speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.manifest import Recording
from speechunits.config import UnitsConfig
from speechunits.encoder.encoder import encoder_from_export
from speechunits.errors import UsageError
from speechunits.evaluation.information import Predictability, held_out_predictability
from speechunits.frames import FRAME_RATE_HZ
from speechunits.units.extract import FeatureExtractor, FloatArray, OnFault, map_recordings
from speechunits.units.features import LayerFeatures, smoothed
from speechunits.units.fit import fit_points, read_source, sample_recordings
from speechunits.units.sequence import merged
from speechunits.units.units import assign_points

IntArray = NDArray[np.int64]

_SAMPLE_FRAMES = 50_000
"""Frames k-means is fitted on, a quarter of what the final units get: layers are only compared."""
_SAMPLE_VALUES = 1 << 27
"""Numbers of the sample over all layers together (half a gigabyte)."""
_TRAIN_FRAMES = 150_000
"""Frames the predictor is fitted on."""


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """The layer chosen, and what each was chosen on."""

    layer: int
    frames: list[Predictability]
    """Held-out predictability of frame-level units, by layer; the criterion."""
    runs: list[Predictability]
    """The same on merged runs."""

    def to_tree(self) -> dict[str, Any]:
        """Return the choice as plain numbers, for a quality card."""
        return {
            "layer": self.layer,
            "bits_a_frame": [layer.bits for layer in self.frames],
            "bits_a_run": [layer.bits for layer in self.runs],
        }


def select_layer(
    encoder: Path,
    train: Sequence[Recording],
    tune: Sequence[Recording],
    config: UnitsConfig,
    *,
    on_fault: OnFault | None = None,
) -> LayerChoice:
    """Fit ``config.clusters`` units on every layer at once and compare their held-out predictability.

    Streamed in bounded memory, and over less than an hour and a half of train, in a seeded order.

    Raises
    ------
    UsageError
        If ``tune`` is empty, or train has fewer frames than clusters.
    """
    # Layers are compared by their first codebook, on a sample.
    config = replace(config, residual_clusters=0, stream_passes=0)
    if not tune:
        raise UsageError("choosing a layer needs held-out speech (the split `tune`), but there is none; give a number")
    tensors, header = read_source(encoder, replace(config, source="kmeans", layer=0))
    network = encoder_from_export(tensors, header)
    layers = range(network.num_layers + 1)
    extractor = FeatureExtractor(smoothed(LayerFeatures(network, layers, config.precision), config.smooth))
    size = min(config.sample_frames, _SAMPLE_FRAMES, _SAMPLE_VALUES // extractor.dim)
    points = sample_recordings(extractor, _part(train, size, config.seed), config, size, on_fault)
    columns = np.split(np.arange(extractor.dim), len(layers))
    fitted = [fit_points(points[:, column], config)[0] for column in columns]
    del points

    def assigned(waveform: FloatArray) -> list[IntArray]:
        pieces = [piece.features for piece in extractor.pieces(waveform)]
        return [
            np.concatenate([np.zeros(0, np.int64), *(assign_points(piece[:, column], found) for piece in pieces)])
            for column, found in zip(columns, fitted, strict=True)
        ]

    def units(recordings: Sequence[Recording]) -> list[list[IntArray]]:
        """Return the units of each recording, layer by layer."""
        sequences: list[list[IntArray]] = [[] for _ in layers]
        for _, columns_units in map_recordings(assigned, recordings, on_fault):
            for sequence, ids in zip(sequences, columns_units, strict=True):
                sequence.append(ids)
        return sequences

    seen, held_out = units(_part(train, _TRAIN_FRAMES, config.seed)), units(tune)
    frames = [held_out_predictability(a, b, config.clusters) for a, b in zip(seen, held_out, strict=True)]
    merges = [
        held_out_predictability([merged(x) for x in a], [merged(x) for x in b], config.clusters)
        for a, b in zip(seen, held_out, strict=True)
    ]
    best = max(layers, key=lambda layer: frames[layer].bits)
    return LayerChoice(layer=best, frames=frames, runs=merges)


def _part(recordings: Sequence[Recording], size: int, seed: int) -> list[Recording]:
    """Return recordings in a seeded order, up to ``size`` frames."""
    ordered = sorted(recordings, key=lambda recording: recording.id)
    chosen, frames = [], 0.0
    for place in np.random.default_rng(seed).permutation(len(ordered)):
        if frames >= size:
            break
        chosen.append(ordered[place])
        frames += ordered[place].duration_s * FRAME_RATE_HZ
    return chosen
