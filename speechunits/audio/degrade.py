"""Field recordings from clean speech: a room, noise and babble, a microphone, a level. NumPy arrays at one rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Samples = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]

_LOWEST_HZ = 60.0
_BANDS = 8
"""Points of the random equaliser, evenly spaced in log frequency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """How bad field recordings are; each recording draws its own values, uniformly within these ranges."""

    snr_db: tuple[float, float] = (3.0, 22.0)
    decay_s: tuple[float, float] = (0.1, 0.6)
    """Time in which the room decays by 60 dB."""
    direct_db: tuple[float, float] = (0.0, 12.0)
    """Direct sound over reverberation."""
    colour: tuple[float, float] = (0.0, 2.0)
    """Exponent a of the noise's power spectrum, 1 / f^a: white to brown."""
    equaliser_db: float = 4.0
    """Standard deviation of the gains of the microphone's bands, clipped at twice that."""
    talkers: tuple[int, int] = (3, 6)
    level_db: tuple[float, float] = (-34.0, -17.0)
    """Root mean square over full scale."""


def degrade(
    speech: Samples, voiced: npt.NDArray[np.bool_], babble: Samples, rate_hz: int, generator: np.random.Generator,
    field: Field = Field(),
) -> Samples:  # fmt: skip
    """Return ``(T,)`` speech as a field recorder would have heard it; the direct sound stays where it was.

    ``voiced`` ``(T,)`` marks the samples where somebody speaks: signal power is measured there. ``babble`` ``(U,)`` is
    other people's speech, longer than nothing; any passage of it may be used.
    """
    count = len(speech)
    size = fft.next_fast_len(count + int(field.decay_s[1] * rate_hz), real=True)
    frequencies_hz = fft.rfftfreq(size, 1 / rate_hz)
    room = fft.rfft(_room(rate_hz, generator, field), size)
    wet = fft.irfft(fft.rfft(speech, size) * room, size)[:count]
    snr_db = generator.uniform(*field.snr_db)
    noise = _noise(count, size, frequencies_hz, babble, generator, field)
    active = wet[voiced] if voiced.any() else wet
    gain = np.sqrt(_power(active) / max(_power(noise), 1e-20)) * 10 ** (-snr_db / 20)
    mixed = wet + np.float32(gain) * noise
    heard = fft.irfft(fft.rfft(mixed, size) * _equaliser(frequencies_hz, generator, field), size)[:count]
    return set_level(heard, generator.uniform(*field.level_db))


def set_level(samples: Samples, level_db: float) -> Samples:
    """Return samples with the given root mean square over full scale, lowered where they would clip."""
    scale = 10 ** (level_db / 20) / max(np.sqrt(_power(samples)), 1e-10)
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-10)
    levelled: Samples = samples * np.float32(min(scale, 0.98 / peak))
    return levelled


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def _room(rate_hz: int, generator: np.random.Generator, field: Field) -> Samples:
    """Return an impulse response: the direct sound, a gap, then noise that decays exponentially (Moorer 1979)."""
    decay_s = generator.uniform(*field.decay_s)
    times_s = np.arange(int(decay_s * rate_hz)) / rate_hz
    tail = generator.standard_normal(len(times_s)) * 10 ** (-3 * times_s / decay_s)
    tail[: int(generator.uniform(0.002, 0.01) * rate_hz)] = 0
    tail *= 10 ** (-generator.uniform(*field.direct_db) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def _noise(
    count: int, size: int, frequencies_hz: npt.NDArray[np.float64], babble: Samples, generator: np.random.Generator,
    field: Field,
) -> Samples:  # fmt: skip
    shape = np.maximum(frequencies_hz, _LOWEST_HZ) ** (-generator.uniform(*field.colour) / 2)
    white = generator.standard_normal((2, len(shape)), dtype=np.float32)
    coloured = fft.irfft(((white[0] + 1j * white[1]) * shape).astype(np.complex64), size)[:count]
    talkers = np.zeros(count, np.float32)
    for start in generator.integers(len(babble), size=generator.integers(field.talkers[0], field.talkers[1] + 1)):
        talkers += np.take(babble, np.arange(start, start + count), mode="wrap")
    share = generator.uniform()
    noise: Samples = _unit(coloured) * np.float32(np.sqrt(share)) + _unit(talkers) * np.float32(np.sqrt(1 - share))
    return noise


def _unit(samples: Samples) -> Samples:
    unit: Samples = samples / np.float32(max(np.sqrt(_power(samples)), 1e-10))
    return unit


def _equaliser(
    frequencies_hz: npt.NDArray[np.float64], generator: np.random.Generator, field: Field
) -> npt.NDArray[np.float32]:
    """Return a smooth random gain for each frequency, without phase."""
    points = np.linspace(np.log(_LOWEST_HZ), np.log(frequencies_hz[-1]), _BANDS)
    gains_db = np.clip(generator.standard_normal(_BANDS), -2, 2) * field.equaliser_db
    curve_db = np.interp(np.log(np.maximum(frequencies_hz, _LOWEST_HZ)), points, gains_db)
    gains: npt.NDArray[np.float32] = (10 ** (curve_db / 20)).astype(np.float32)
    return gains
