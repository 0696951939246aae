"""An inventory of units with all it takes to find them in a recording: one bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.audio.load import load_waveform, stream_waveform
from speechunits.audio.manifest import Recording
from speechunits.audio.resample import mono, resample
from speechunits.encoder.encoder import encoder_from_export
from speechunits.encoder.quantizer import quantizer_from_export
from speechunits.errors import ModelRefused, UsageError
from speechunits.frames import CONTEXT_FRAMES, CORE_FRAMES, HOP, MAX_WINDOW, RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.run import content_key
from speechunits.units.bundle import read_bundle, refused_header, tensors_hash, write_bundle
from speechunits.units.extract import FeatureExtractor, OnFault, map_recordings
from speechunits.units.features import CodebookFeatures, Features, LayerFeatures, MfccFeatures, Precision, smoothed
from speechunits.units.nearest import margins, nearest
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import UnitTranscript

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

CENTROIDS, RESIDUAL = "units.centroids", "units.residual"
MEAN, SCALE, PSEUDOTEXT = "units.mean", "units.scale", "units.pseudotext"
GRID: Mapping[str, int] = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "receptive_field": RECEPTIVE_FIELD,
    "hop": HOP,
    "max_window": MAX_WINDOW,
    "core_frames": CORE_FRAMES,
    "context_frames": CONTEXT_FRAMES,
}
"""Written into every bundle: a program with another grid must refuse it, not shift its units."""


class Units:
    """Recordings in, units out.

    Parameters
    ----------
    tensors
        ``encoder.*`` (and ``quantizer.*``) of the learner's export, ``units.centroids`` ``(K, D)``, and optionally
        ``units.mean`` and ``units.scale`` ``(D,)`` and ``units.pseudotext`` (bytes of a sentencepiece model).
    header
        ``units`` (source, layer, clusters, precision), ``encoder`` and ``quantizer`` (configurations), ``quality``.
    """

    def __init__(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        self.header: dict[str, Any] = dict(header)
        self.tensors = dict(tensors)
        settings = header["units"]
        residual = tensors.get(RESIDUAL)
        self.clusters: int = settings["clusters"] * (1 if residual is None else len(residual))
        """K: every combination, where there is a second codebook."""
        self.extractor = FeatureExtractor(build_features(tensors, header))
        self._centroids = tensors.get(CENTROIDS)
        if settings["source"] != "codebook" and self._centroids is None:
            raise ModelRefused(f"units from {settings['source']} must have centroids, but have none; fit them again")
        expected = (settings["clusters"], self.extractor.dim)
        if self._centroids is not None and self._centroids.shape != expected:
            raise ModelRefused(
                f"centroids must be {expected}, but are {tuple(self._centroids.shape)} instead; fit the units again"
            )
        if residual is not None and (residual.dim() != 2 or residual.shape[1] != self.extractor.dim):
            raise ModelRefused(
                f"the second codebook must be (K, {self.extractor.dim}), but is {tuple(residual.shape)} instead; "
                "fit the units again"
            )

    @classmethod
    def load(cls, path: Path) -> Units:
        """Read a bundle. Raises ModelRefused where it is missing, damaged, of another kind or on another grid."""
        tensors, header = read_bundle(path, "units")
        if header.get("grid") != dict(GRID):
            raise ModelRefused(f"{path} must be on the frame grid {dict(GRID)}, but is on {header.get('grid')} instead")
        with refused_header(str(path)):
            return cls(tensors, header)

    def to(self, device: str) -> Units:
        """Compute on ``cpu`` or ``cuda`` from now on, windows as before: one at a time; return itself.

        Units of a GPU are equal among themselves; those of a processor may differ where two centroids are almost
        equally near.

        Raises
        ------
        UsageError
            If there is no such device.
        """
        try:
            self.extractor.source.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"the device must be cpu, or cuda where there is a GPU, but is {device!r}, which cannot be used "
                f"({str(error).splitlines()[0]}); `speechunits doctor` tells what is there"
            ) from error
        return self

    def save(self, path: Path) -> None:
        """Write the bundle atomically."""
        write_bundle(path, self.tensors, {**self.header, "kind": "units", "grid": dict(GRID)})

    @cached_property
    def key(self) -> str:
        """What tells this inventory from others: equal tensors and settings, equal key."""
        return content_key(tensors_hash(self.tensors), self.header["units"])

    @property
    def has_pseudotext(self) -> bool:
        """Whether a pseudo-text model is in the bundle."""
        return PSEUDOTEXT in self.tensors

    @property
    def pseudotext(self) -> Pseudotext:
        """The bundle's pseudo-text model. Raises UsageError where it has none."""
        if not self.has_pseudotext:
            raise UsageError("this units bundle has no pseudo-text model; `speechunits pseudotext fit` adds one")
        return Pseudotext(self.tensors[PSEUDOTEXT].numpy().tobytes())

    def with_pseudotext(self, model: Pseudotext) -> Units:
        """Return this inventory with a pseudo-text model.

        Raises
        ------
        UsageError
            If the model is over another number of units.
        """
        if model.clusters != self.clusters:
            raise UsageError(f"pseudo-text must be over {self.clusters} units, but is over {model.clusters} instead")
        stored = torch.frombuffer(bytearray(model.model), dtype=torch.uint8)
        return Units({**self.tensors, PSEUDOTEXT: stored}, {**self.header, "pseudotext": {"pieces": len(model)}})

    def assign(self, features: FloatArray) -> IntArray:
        """Return the ``(S,)`` units of ``(S, D)`` features: the nearest centroid in fp32, the first of equals."""
        if self._centroids is None:
            radix = self.header["quantizer"]["entries"] ** np.arange(features.shape[1] - 1, -1, -1, dtype=np.int64)
            pairs: IntArray = features.astype(np.int64) @ radix
            return pairs
        return assign_points(features, self.tensors)

    def margins(self, features: FloatArray) -> FloatArray:
        """Return ``(S,)`` margins of ``(S, D)`` features: 1 - d1 / d2, distances to the nearest and second centroid.

        0 where two centroids are equally near, 1 on a centroid, and where there is but one, or no centroids at all.
        """
        if self._centroids is None or len(self._centroids) == 1:
            return np.ones(len(features), np.float32)
        return margins(normalized(features, self.tensors), self._centroids)

    def units(self, waveform: FloatArray, rate_hz: float = SAMPLE_RATE_HZ) -> IntArray:
        """Return the ``(S,)`` units of ``(T,)`` mono samples of rate ``rate_hz``, 50 a second.

        Raises
        ------
        InputRefused
            If the samples are not one-dimensional, or not finite, or the rate is none.
        """
        # Window by window, so that a long recording's features are never in memory at once.
        pieces = self.extractor.pieces(resample(mono(waveform), rate_hz))
        return np.concatenate([np.zeros(0, np.int64), *(self.assign(piece.features) for piece in pieces)])

    def transcribe(
        self,
        path: str | Path,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        name: str | None = None,
        margins: bool = True,
    ) -> UnitTranscript:
        """Return the units of a recording, or of a segment of it; ``name`` is by default the file's.

        The file is decoded as it is transcribed: memory holds a window of it, however long it is. Without ``margins``
        none are computed, which saves time where the encoder is small.

        Raises
        ------
        InputRefused
            If it cannot be read.
        """
        path = Path(path)
        whole = start_s is None and end_s is None
        samples = 0

        def counted() -> Iterator[FloatArray]:
            nonlocal samples
            blocks = stream_waveform(path) if whole else [load_waveform(path, start_s=start_s, end_s=end_s)]
            for block in blocks:
                samples += len(block)
                yield block

        units, nearer = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for piece in self.extractor.stream(counted()):
            units.append(self.assign(piece.features))
            if margins:
                nearer.append(self.margins(piece.features))
        return UnitTranscript(
            id=path.stem if name is None else name,
            duration_s=samples / SAMPLE_RATE_HZ,
            units=np.concatenate(units),
            margins=np.concatenate(nearer) if margins and self._centroids is not None else None,
            audio=path if whole else None,
        )

    def recordings(
        self, recordings: Iterable[Recording], on_fault: OnFault | None = None
    ) -> Iterator[tuple[Recording, IntArray]]:
        """Yield each recording with its ``(S,)`` units, in order.

        One that cannot be read goes to ``on_fault`` and is left out; without it, InputRefused is raised.
        """
        return map_recordings(self.units, recordings, on_fault)


def assign_points(features: FloatArray, tensors: Mapping[str, Tensor]) -> IntArray:
    """Return the ``(S,)`` nearest centroids to ``(S, D)`` features, normalised first where the units were.

    With a second codebook of K' entries, unit ``u`` stands for centroid ``u // K'`` and entry ``u % K'`` for the rest.
    """
    features = normalized(features, tensors)
    ids = nearest(features, tensors[CENTROIDS])
    if RESIDUAL not in tensors:
        return ids
    return ids * len(tensors[RESIDUAL]) + nearest(features - tensors[CENTROIDS].numpy()[ids], tensors[RESIDUAL])


def normalized(features: FloatArray, tensors: Mapping[str, Tensor]) -> FloatArray:
    """Return ``(S, D)`` features as the centroids see them: as they are, or by the corpus's mean and scale."""
    if MEAN not in tensors:
        return features
    scaled: FloatArray = (features - tensors[MEAN].numpy()) / tensors[SCALE].numpy()
    return scaled


def build_features(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Features:
    """Return the features that a units header asks for."""
    settings = header["units"]
    chosen = cast("Precision", settings["precision"])
    features: Features
    if settings["source"] == "mfcc":
        features = MfccFeatures()
    elif settings["source"] == "codebook":
        # A code has one embedding and one unit: neighbours have no say.
        encoder, quantizer = encoder_from_export(tensors, header), quantizer_from_export(tensors, header)
        return CodebookFeatures(encoder, quantizer, pairs=CENTROIDS not in tensors, precision=chosen)
    else:
        features = LayerFeatures(encoder_from_export(tensors, header), [settings["layer"]], chosen)
    return smoothed(features, settings.get("smooth", 1))
