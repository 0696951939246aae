"""Units of a recording that still goes on, by a causal encoder: those of ``transcribe``, each once it can be known.

The windows are the canonical ones of causal encoders: every 16 s a fresh one takes over, which has heard the 2 s
before. For those 2 s both are computed: 18 / 16 of what one encoder costs, and no burst where one takes over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechunits.encoder.incremental import IncrementalEncoder
from speechunits.errors import UsageError
from speechunits.frames import CORE_FRAMES, HOP, RECEPTIVE_FIELD, window_start, window_stop
from speechunits.units.extract import one_thread
from speechunits.units.features import CodebookFeatures, Features, LayerFeatures, SmoothedFeatures
from speechunits.units.units import Units

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def latency_samples(header: Mapping[str, Any]) -> int:
    """Return how many samples, its own first included, must be heard before a frame's unit is known.

    400, and for units that are averaged over neighbours 320 for each frame that lies ahead. What waits in a chunk that
    is not full yet comes on top.

    Raises
    ------
    UsageError
        If units of this header need to hear more than that: they are no causal encoder's.
    """
    settings = header["units"]
    if settings["source"] == "mfcc":
        raise UsageError(
            "units of MFCC cannot be streamed, since differences read frames ahead; fit units on an encoder with "
            "causal: true"
        )
    if not header.get("encoder", {}).get("causal", False):
        raise UsageError(
            "these units cannot be streamed: their encoder reads the whole window before it knows a frame (attention, "
            "positions and input statistics look ahead); pretrain one with encoder: {causal: true, input_norm: running}"
        )
    ahead = settings.get("smooth", 1) // 2 if settings["source"] == "kmeans" else 0
    return RECEPTIVE_FIELD + HOP * ahead


class Heard(NamedTuple):
    """Units that have become known, in order."""

    units: IntArray
    """``(S,)``."""
    margins: FloatArray
    """``(S,)``, as those of a transcript."""


class LiveUnits:
    """One recording, piece by piece.

    Raises
    ------
    UsageError
        If the units cannot be streamed (:func:`latency_samples`).
    """

    def __init__(self, units: Units) -> None:
        self.latency_samples = latency_samples(units.header)
        self._units = units
        self._windows: list[_Window] = []
        self._next = 0
        """First frame of the window that opens next."""
        self.samples = 0
        """Heard so far."""

    def push(self, samples: FloatArray) -> Heard:
        """Return the units that the next ``(T,)`` samples at 16 kHz complete."""
        begun, self.samples = self.samples, self.samples + len(samples)
        while window_start(self._next) < self.samples:
            self._windows.append(_Window(self._next, self._units.extractor.source))
            self._next += CORE_FRAMES
        piece = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        with one_thread():
            found = [
                window.push(piece[max(0, window.start - begun) : max(0, window.stop - begun)])
                for window in self._windows
            ]
        self._windows = [window for window in self._windows if not window.full]
        return self._assign(found)

    def finish(self) -> Heard:
        """Return the units that had waited for what comes after them; the recording has ended."""
        with one_thread():
            found = [window.finish() for window in self._windows]
        self._windows = []
        return self._assign(found)

    def _assign(self, found: list[FloatArray]) -> Heard:
        features = np.concatenate([np.zeros((0, self._units.extractor.dim), np.float32), *found])
        return Heard(self._units.assign(features), self._units.margins(features))


class _Window:
    """A canonical window that is being heard; it gives the features of the frames it owns."""

    def __init__(self, first: int, features: Features) -> None:
        self.start, self.stop = window_start(first), window_stop(first)
        """Samples it hears: a frame beyond them is another window's."""
        self._live = _live(features)
        skip = first - self.start // HOP
        self._owned = range(skip, skip + CORE_FRAMES)
        self._given = 0

    @property
    def full(self) -> bool:
        """Whether all its frames have been given."""
        return self._given >= self._owned.stop

    def push(self, samples: Tensor) -> FloatArray:
        return self._own(self._live.extend(samples))

    def finish(self) -> FloatArray:
        return self._own(self._live.finish())

    def _own(self, features: Tensor) -> FloatArray:
        begun, self._given = self._given, self._given + len(features)
        owned: FloatArray = features[max(0, self._owned.start - begun) : max(0, self._owned.stop - begun)].numpy()
        return owned


class _Live(ABC):
    """Features of one window, piece by piece: ``(T,)`` samples in, ``(S, D)`` features out."""

    @abstractmethod
    def extend(self, samples: Tensor) -> Tensor:
        """Return the features that the next samples complete."""

    @abstractmethod
    def finish(self) -> Tensor:
        """Return those that had waited for samples that do not come."""


class _Encoded(_Live):
    """Layers or codes of a causal encoder."""

    def __init__(self, features: LayerFeatures | CodebookFeatures) -> None:
        self._features = features
        self._layers = features.layers if isinstance(features, LayerFeatures) else None
        depth = features.depth if isinstance(features, LayerFeatures) else None
        self._encoder = IncrementalEncoder(features.encoder, depth)

    @torch.inference_mode()
    def extend(self, samples: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._features.precision == "bf16"):
            heard = self._encoder.extend(samples)
        if isinstance(self._features, CodebookFeatures):
            return self._features.choose(heard.latents)[0]
        return torch.cat([heard.layer(layer)[0].float() for layer in self._layers or ()], dim=-1)

    def finish(self) -> Tensor:
        return torch.zeros(0, self._features.dim)


class _Averaged(_Live):
    """Means over neighbouring frames: as many wait as lie ahead."""

    def __init__(self, features: SmoothedFeatures) -> None:
        self._features = features
        self._inner = _live(features.features)
        self._ahead = features.width // 2
        self._held = torch.zeros(0, features.dim)
        self._given = 0
        """Of the frames held, those whose mean was given: they are neighbours of the others."""

    def extend(self, samples: Tensor) -> Tensor:
        self._held = torch.cat([self._held, self._inner.extend(samples)])
        return self._give(max(self._given, len(self._held) - self._ahead))

    def finish(self) -> Tensor:
        self._held = torch.cat([self._held, self._inner.finish()])
        return self._give(len(self._held))

    def _give(self, stop: int) -> Tensor:
        if stop == self._given:
            return self._held[:0]
        real = torch.ones(1, len(self._held), dtype=torch.bool)
        means = self._features.average(self._held[None], real)[0, self._given : stop]
        past = max(0, stop - self._ahead)
        self._held, self._given = self._held[past:], stop - past
        return means


def _live(features: Features) -> _Live:
    if isinstance(features, SmoothedFeatures):
        return _Averaged(features)
    assert isinstance(features, LayerFeatures | CodebookFeatures), "latency_samples refuses all others"
    return _Encoded(features)
