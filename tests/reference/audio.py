"""Oracles for recordings: what the protocol's sentences say, written down slowly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def largest_proportion_error_s(order: Sequence[tuple[str, float]]) -> float:
    """Over all prefixes of (speaker, seconds), the largest distance of a speaker's seconds from its proportion."""
    whole_s = sum(seconds for _, seconds in order)
    shares = {name: sum(s for other, s in order if other == name) / whole_s for name, _ in order}
    worst = 0.0
    for end in range(1, len(order) + 1):
        prefix = order[:end]
        taken_s = sum(seconds for _, seconds in prefix)
        for name, share in shares.items():
            worst = max(worst, abs(sum(s for other, s in prefix if other == name) - share * taken_s))
    return worst


def sine(frequency_hz: float, duration_s: float, rate_hz: int) -> np.ndarray:
    """A sine of amplitude .5 sampled at any rate: what resampling must give."""
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)


def tone_hz(samples: np.ndarray, rate_hz: int) -> float:
    """The frequency of the highest peak of a spectrum."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))
