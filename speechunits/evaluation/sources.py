"""What ABX and probes measure: every layer of an encoder, the same encoder untrained, MFCC, log-mel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechunits.audio.manifest import Recording
from speechunits.config import EncoderConfig, build_config
from speechunits.encoder.encoder import Encoder, encoder_from_export
from speechunits.encoder.foreign import is_foreign, read_foreign
from speechunits.errors import UsageError
from speechunits.progress import progress
from speechunits.units.bundle import read_bundle, tensors_hash
from speechunits.units.extract import FeatureExtractor, FloatArray, OnFault, map_recordings
from speechunits.units.features import Features, LayerFeatures, LogMelFeatures, MfccFeatures

PLAIN = ("mfcc", "logmel")
"""Sources that are no file."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Features under a name, several representations side by side."""

    name: str
    labels: tuple[str, ...]
    """``3`` for layer 3; empty for features without layers."""
    features: Features
    sha256: str = ""
    """Of the encoder's tensors."""


def open_sources(
    paths: Mapping[str, str], *, layers: Sequence[int] | None = None, untrained: bool = False, seed: int = 0
) -> list[Source]:
    """Return named sources.

    Parameters
    ----------
    paths
        Name to ``mfcc``, ``logmel``, a bundle with an encoder, or a foreign checkpoint.
    layers
        Layers of every encoder (``LATENTS``: the front end's own output); None takes the layer of a units bundle,
        and all from 0 on of an encoder.
    untrained
        After each encoder, also the same architecture with weights drawn by ``seed``.

    Raises
    ------
    ModelRefused
        If a bundle cannot be read.
    UsageError
        If it holds no encoder, or lacks a layer.
    """
    sources: list[Source] = []
    drawn: set[str] = set()
    for name, path in paths.items():
        if path in PLAIN:
            features = MfccFeatures() if path == "mfcc" else LogMelFeatures()
            sources.append(Source(name=name, labels=("",), features=features))
            continue
        tensors, header = _read(Path(path))
        if "encoder" not in header:
            raise UsageError(f"{path} holds no encoder (units of MFCC have none); give `mfcc` for MFCC themselves")
        own = header.get("units", {}).get("layer")
        chosen = [own] if layers is None and own is not None else layers
        sources.append(_of(encoder_from_export(tensors, header), name, chosen, tensors_hash(_encoder(tensors))))
        key = str((header["encoder"], chosen))
        if untrained and key not in drawn:
            drawn.add(key)
            sources.append(_of(untrained_encoder(header, seed), f"untrained {name}", chosen, ""))
    return sources


def untrained_encoder(header: Mapping[str, Any], seed: int) -> Encoder:
    """Return an encoder of the architecture of a bundle's header, its weights as training would begin with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(build_config(EncoderConfig, header["encoder"], origin="encoder of the bundle")).eval()


def _read(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    return read_foreign(path).export() if is_foreign(path) else read_bundle(path)


def _encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}


def _of(encoder: Encoder, name: str, layers: Sequence[int] | None, sha256: str) -> Source:
    chosen = tuple(range(encoder.num_layers + 1)) if layers is None else tuple(layers)
    return Source(name=name, labels=tuple(map(str, chosen)), features=LayerFeatures(encoder, chosen), sha256=sha256)


def each_features(
    source: Source, recordings: Sequence[Recording], on_fault: OnFault | None = None
) -> Iterator[tuple[Recording, FloatArray]]:
    """Yield each recording with its ``(S, D)`` features, all representations of the source side by side."""
    extractor = FeatureExtractor(source.features)
    with progress(f"frames of {source.name or 'the supervised network'}", len(recordings)) as advance:
        for recording, features in map_recordings(extractor.features, recordings, on_fault):
            yield recording, features
            advance(1, "")


def features_of(
    source: Source, recordings: Sequence[Recording], on_fault: OnFault | None = None
) -> dict[str, FloatArray]:
    """Return the ``(S, D)`` features of each recording by its id."""
    return {recording.id: features for recording, features in each_features(source, recordings, on_fault)}


def columns(source: Source) -> list[tuple[str, slice]]:
    """Return label and columns of each representation of a source."""
    stops = itertools.accumulate(source.features.widths)
    return [
        (label, slice(stop - width, stop))
        for label, width, stop in zip(source.labels, source.features.widths, stops, strict=True)
    ]


def stacked(features: Mapping[str, FloatArray], order: Sequence[str], part: slice) -> FloatArray:
    """Return some columns of the frames of recordings, end to end in the order given."""
    return np.concatenate([features[name][:, part] for name in order])
