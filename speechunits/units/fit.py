"""Fit an inventory of units: a seeded sample of frames in one streamed pass, k-means, a quality card, one bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.manifest import Recording
from speechunits.config import UnitsConfig, to_tree
from speechunits.errors import InputRefused, UsageError
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.progress import progress
from speechunits.units.bundle import read_bundle, tensors_hash
from speechunits.units.extract import FeatureExtractor, OnFault, load_recordings, map_recordings
from speechunits.units.kmeans import KMeans, fit_kmeans
from speechunits.units.nearest import nearest
from speechunits.units.sample import FrameSample, part
from speechunits.units.streaming import refine_kmeans
from speechunits.units.units import CENTROIDS, MEAN, RESIDUAL, SCALE, Units, build_features

FloatArray = NDArray[np.float32]

_CARD_FILES = 20
_WHOLE_S = 60.0
"""Longest recording that is also encoded in one pass for the quality card."""
_KEPT = ("encoder", "origin", "quantizer", "quantizer_dim")
"""What of an encoder's header a units bundle keeps."""
_LATER = ("seeding", "stream_passes", "residual_clusters")
"""Settings that a header names only where they are not at their defaults."""
_BATCH_FRAMES = 16_384
_READ = 4
"""How many times the frames of the sample are read: recordings differ by voices and rooms, so there should be many, but
all of a large corpus would be read for the hundredth part of it."""


def fit_units(
    encoder: Path | None,
    recordings: Sequence[Recording],
    config: UnitsConfig,
    *,
    path: Path,
    provenance: Mapping[str, Any] | None = None,
    on_fault: OnFault | None = None,
) -> Units:
    """Fit units on ``recordings`` (train only, by the protocol) and write their bundle to ``path``.

    Parameters
    ----------
    encoder
        Encoder bundle; None for ``source: mfcc``.
    config
        Its ``layer`` must be a number: ``auto`` is resolved before, by ``evaluation.select``.

    Raises
    ------
    UsageError
        If the configuration cannot be met (unknown source, no codebook, too few frames, faiss missing).
    InputRefused
        If the encoder bundle cannot be used, or a recording and there is no ``on_fault``, or none of them.
    """
    refuse, heard = _Refusals(on_fault), recordings
    tensors, header = read_source(encoder, config)
    settings = _settings(config)
    header = {**header, "kind": "units", "units": settings, "provenance": dict(provenance or {}), "quality": {}}
    if config.source == "codebook" and config.clusters == 0:
        quantizer = header["quantizer"]
        settings["clusters"] = quantizer["entries"] ** quantizer["groups"]
        units = Units(tensors, header)
    else:
        # The placeholder tells build_features that codes are wanted embedded.
        extractor = FeatureExtractor(build_features({**tensors, CENTROIDS: torch.empty(0)}, header))
        heard = part(recordings, _READ * config.sample_frames, config.seed)
        points = sample_recordings(extractor, heard, config, config.sample_frames, refuse)
        fitted, kmeans = fit_points(points, config, lambda: _batches(_frames(extractor, recordings, config, refuse)))
        units = Units({**tensors, **fitted}, header)
        units.header["quality"] = _kmeans_card(kmeans)
    # What cannot be read was found out in the sampling pass, where there was one.
    spread = _spread([recording for recording in heard if recording.id not in refuse.names], _CARD_FILES)
    units.header["quality"] |= compare(units, spread, refuse)
    units.save(path)
    return units


class _Refusals:
    """Names a recording once, in whatever passes it cannot be read; without ``on_fault``, InputRefused is raised."""

    def __init__(self, on_fault: OnFault | None) -> None:
        self._on_fault = on_fault
        self.names: set[str] = set()

    def __call__(self, name: str, reason: str) -> None:
        if self._on_fault is None:
            raise InputRefused(reason)
        if name not in self.names:
            self._on_fault(name, reason)
        self.names.add(name)


def _settings(config: UnitsConfig) -> dict[str, Any]:
    """Return what a header says of how units were fitted."""
    settings = {
        "source": config.source, "clusters": config.clusters, "precision": config.precision,
        "layer": config.layer if config.source == "kmeans" else None, "normalize": config.normalize,
        "smooth": config.smooth, "speech_only": config.speech_only,
        "sample_frames": config.sample_frames, "iterations": config.iterations, "restarts": config.restarts,
        "seed": config.seed,
    }  # fmt: skip
    return settings | {key: value for key, value in to_tree(config).items() if key in _LATER}


def read_source(encoder: Path | None, config: UnitsConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and header entries a units bundle takes from an encoder's; check the source against them."""
    if config.source not in ("kmeans", "codebook", "mfcc"):
        raise UsageError(f"source must be kmeans, codebook or mfcc, but is {config.source!r} instead")
    if config.clusters < 1 and config.source != "codebook":
        raise UsageError(f"clusters must be at least 1, but is {config.clusters} instead")
    if config.source == "mfcc":
        return {}, {}
    if encoder is None:
        raise UsageError(f"units from {config.source} need an encoder bundle; give one, or use source: mfcc")
    if config.source == "kmeans" and not isinstance(config.layer, int):
        raise UsageError(f"layer must be a number where none is chosen, but is {config.layer!r} instead; name one")
    tensors, header = read_bundle(encoder, "encoder")
    prefixes = ["encoder."]
    if config.source == "codebook":
        if "quantizer" not in header:
            raise UsageError(f"{encoder} has no codebook (its learner learns none); use source: kmeans")
        prefixes.append("quantizer.")
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(tuple(prefixes))}
    entries = {key: header[key] for key in _KEPT if key in header}
    return kept, entries | {"encoder_sha256": tensors_hash(kept)}


def sample_recordings(
    extractor: FeatureExtractor,
    recordings: Sequence[Recording],
    config: UnitsConfig,
    size: int,
    on_fault: OnFault | None = None,
) -> FloatArray:
    """Return a uniform ``(N, D)`` sample of the frames of recordings, the same in whatever order they come."""
    sample = FrameSample(size, config.seed)
    for recording, first, features in _frames(extractor, recordings, config, on_fault):
        sample.add(recording, first, features)
    return sample.frames()


def _frames(
    extractor: FeatureExtractor, recordings: Sequence[Recording], config: UnitsConfig, on_fault: OnFault | None
) -> Iterator[tuple[str, int, FloatArray]]:
    """Yield recording, first frame and the ``(S, D)`` features that units are fitted on, window by window."""
    found = map_recordings(lambda waveform: list(extractor.pieces(waveform)), recordings, on_fault)
    with progress("frames to fit units on", sum(recording.duration_s for recording in recordings)) as advance:
        for recording, pieces in found:
            for piece in pieces:
                yield recording.id, piece.first, piece.features[piece.speech] if config.speech_only else piece.features
            advance(recording.duration_s, "")


def _batches(frames: Iterable[tuple[str, int, FloatArray]]) -> Iterator[FloatArray]:
    held: list[FloatArray] = []
    for _, _, features in frames:
        held.append(features)
        if sum(map(len, held)) >= _BATCH_FRAMES:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def fit_points(
    points: FloatArray, config: UnitsConfig, stream: Callable[[], Iterator[FloatArray]] | None = None
) -> tuple[dict[str, Tensor], KMeans]:
    """Fit k-means on a sample: the tensors that assignment needs, and how the points fall on the units.

    ``stream`` yields all frames of the corpus in batches, as often as it is called; read where ``stream_passes`` asks.
    """
    tensors: dict[str, Tensor] = {}
    mean, scale = np.zeros(1, np.float32), np.ones(1, np.float32)
    if config.normalize and len(points):
        mean, scale = points.mean(axis=0), points.std(axis=0) + np.float32(1e-5)
        points = (points - mean) / scale
        tensors = {MEAN: torch.from_numpy(mean), SCALE: torch.from_numpy(scale)}
    kmeans = fit_kmeans(
        points, config.clusters, iterations=config.iterations, restarts=config.restarts, seed=config.seed,
        seeding=config.seeding,
    )  # fmt: skip
    if config.stream_passes and stream is not None:
        kmeans = refine_kmeans(kmeans, lambda: ((batch - mean) / scale for batch in stream()), config.stream_passes)
    tensors[CENTROIDS] = torch.from_numpy(kmeans.centroids)
    if config.residual_clusters:
        rest = points - kmeans.centroids[nearest(points, tensors[CENTROIDS])]
        second = fit_kmeans(
            rest, config.residual_clusters, iterations=config.iterations, restarts=config.restarts,
            seed=config.seed + 1, seeding=config.seeding,
        )  # fmt: skip
        tensors[RESIDUAL] = torch.from_numpy(second.centroids)
    return tensors, kmeans


def compare(units: Units, recordings: Iterable[Recording], on_fault: OnFault | None = None) -> dict[str, Any]:
    """Measure how units differ between fp32 and bf16, and between windows and one pass over the file."""
    frames = differing = whole_frames = whole = files = 0
    source = units.header["units"]["source"]
    other = "bf16" if units.header["units"]["precision"] == "fp32" else "fp32"
    second = None if source == "mfcc" else Units(
        units.tensors, {**units.header, "units": {**units.header["units"], "precision": other}}
    )  # fmt: skip
    for _, waveform in load_recordings(recordings, on_fault):
        ids = units.units(waveform)
        files += 1
        frames += len(ids)
        if second is not None:
            differing += int((second.units(waveform) != ids).sum())
        if len(ids) and len(waveform) <= _WHOLE_S * SAMPLE_RATE_HZ:
            whole += int((units.assign(units.extractor.whole(waveform)) != ids).sum())
            whole_frames += len(ids)
    return {
        "compared_files": files,
        "compared_frames": frames,
        "other_precision": None if second is None else other,
        "other_precision_share": differing / frames if frames and second is not None else None,
        "whole_file_share": whole / whole_frames if whole_frames else None,
    }


def _spread(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """Return up to ``count`` recordings, evenly spaced over the list sorted by length."""
    ordered = sorted(recordings, key=lambda recording: (recording.duration_s, recording.id))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]


def _kmeans_card(kmeans: KMeans) -> dict[str, Any]:
    return {
        "points": kmeans.points,
        "dead_units": kmeans.dead,
        "perplexity": kmeans.perplexity,
        "inertia": kmeans.inertia,
    }
