"""Two views of one recording: crops with different starts, altered in pitch, speed, timbre, room, noise and gaps.

NumPy arrays at 16 kHz. What is drawn is drawn in :func:`augment` and :func:`make_views`; every alteration is a function
of its values. Which alterations help speech: Kharitonov et al. 2020 (WavAugment).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

from speechunits.audio.resample import resample
from speechunits.config import ViewsConfig
from speechunits.frames import HOP, RECEPTIVE_FIELD, SAMPLE_RATE_HZ, frame_count, matching_frames

Samples = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]

_LOWEST_HZ = 60.0
_BANDS = 8
"""Points of the equaliser, evenly spaced in log frequency."""
_FFT_SIZE = 512
"""Window of the pitch shift: 32 ms."""
_DIRECT_DB = (3.0, 15.0)
"""Direct sound over reverberation."""
_SNR_RANGE_DB = 30.0


class Views(NamedTuple):
    """Two views of one piece of a recording."""

    first: Samples
    """``(T,)``."""
    second: Samples
    """``(U,)``."""
    matches: npt.NDArray[np.int64]
    """``(S,)`` for each frame of the first view that of the second with the same centre, -1 where there is none."""
    origins: npt.NDArray[np.int64]
    """``(S,)`` for each frame of the first view the same moment's frame of the piece, -1 where there is none."""


def make_views(samples: Samples, config: ViewsConfig, generator: np.random.Generator) -> Views:
    """Return two views of ``(T,)`` samples; matching frames are those of the same moment of the recording."""
    size = max(int(config.crop * len(samples)), min(len(samples), 2 * RECEPTIVE_FIELD))
    views, places = [], []
    for _ in range(2):
        start = HOP * int(generator.integers((len(samples) - size) // HOP + 1))
        speed = 1.0
        if config.speed > 0 and generator.random() < config.probability:
            speed = round(1 + config.speed * generator.uniform(-1, 1), 3)
        view = resample(samples[start : start + size], SAMPLE_RATE_HZ * speed)
        views.append(augment(view, config, generator))
        places.append((start, speed))
    (start, speed), (other_start, other_speed) = places
    counts = [frame_count(len(view)) for view in views]
    matches = matching_frames(*counts, start=start, other_start=other_start, speed=speed, other_speed=other_speed)
    origins = matching_frames(counts[0], frame_count(len(samples)), start=start, speed=speed)
    return Views(views[0], views[1], matches.numpy(), origins.numpy())


def augment(samples: Samples, config: ViewsConfig, generator: np.random.Generator) -> Samples:
    """Return ``(T,)`` samples with pitch, timbre, room, noise and gaps drawn; every moment stays where it was."""
    if len(samples) < RECEPTIVE_FIELD:
        return samples
    # All values are drawn whatever happens, so that switching one alteration off leaves the others as they were.
    applied = generator.random(6) < config.probability
    cents = config.pitch_cents * generator.uniform(-1, 1)
    decay_s, direct_db = config.decay_s * generator.uniform(0.25, 1), generator.uniform(*_DIRECT_DB)
    gains_db = np.clip(generator.standard_normal(_BANDS), -2, 2) * config.equaliser_db
    snr_db, colour = config.snr_db + _SNR_RANGE_DB * generator.random(), generator.uniform(0, 2)
    low_hz = generator.uniform(0, SAMPLE_RATE_HZ / 2 - config.dropped_hz)
    wide_hz = config.dropped_hz * generator.random()
    gap = int(generator.random() * config.dropped_s * SAMPLE_RATE_HZ)
    first = int(generator.integers(max(len(samples) - gap, 1)))
    room_seed, noise_seed = generator.spawn(2)
    if applied[0] and config.pitch_cents > 0:
        samples = shift_pitch(samples, cents)
    if applied[1] and config.decay_s > 0:
        samples = convolve(samples, room_response(decay_s, direct_db, room_seed))
    if applied[2]:
        samples = add_noise(samples, snr_db, colour, noise_seed)
    if applied[3] and config.equaliser_db > 0:
        samples = equalise(samples, gains_db)
    if applied[4] and config.dropped_hz > 0:
        samples = drop_band(samples, low_hz, low_hz + wide_hz)
    if applied[5]:
        samples = drop_time(samples, first, gap)
    return samples


def shift_pitch(samples: Samples, cents: float) -> Samples:
    """Return samples of the same length whose pitch is ``cents`` hundredths of a semitone higher (phase vocoder)."""
    from librosa.effects import pitch_shift  # noqa: PLC0415 - a slow import

    if len(samples) < _FFT_SIZE:
        return samples
    shifted: Samples = pitch_shift(samples, sr=SAMPLE_RATE_HZ, n_steps=cents / 100, n_fft=_FFT_SIZE)
    return shifted.astype(np.float32, copy=False)


def room_response(decay_s: float, direct_db: float, generator: np.random.Generator) -> Samples:
    """Return an impulse response: the direct sound, a gap of 5 ms, then decaying noise (Moorer 1979).

    ``decay_s`` is the time in which the noise decays by 60 dB, ``direct_db`` the direct sound's energy over its own.
    """
    times_s = np.arange(max(int(decay_s * SAMPLE_RATE_HZ), 160)) / SAMPLE_RATE_HZ
    tail = generator.standard_normal(len(times_s)) * 10 ** (-3 * times_s / decay_s)
    tail[:80] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def convolve(samples: Samples, response: Samples) -> Samples:
    """Return the first T samples of ``(T,)`` samples heard through a room."""
    size = fft.next_fast_len(len(samples) + len(response), real=True)
    heard: Samples = fft.irfft(fft.rfft(samples, size) * fft.rfft(response, size), size)[: len(samples)]
    return heard


def add_noise(samples: Samples, snr_db: float, colour: float, generator: np.random.Generator) -> Samples:
    """Return samples with noise of power spectrum 1 / f^colour at a signal-to-noise ratio over the whole of them."""
    size = fft.next_fast_len(len(samples), real=True)
    shape = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), _LOWEST_HZ) ** (-colour / 2)
    white = generator.standard_normal((2, len(shape)), dtype=np.float32)
    noise = fft.irfft(((white[0] + 1j * white[1]) * shape).astype(np.complex64), size)[: len(samples)]
    scale = np.sqrt(_power(samples) / max(_power(noise), 1e-30)) * 10 ** (-snr_db / 20)
    noisy: Samples = samples + np.float32(scale) * noise
    return noisy


def equalise(samples: Samples, gains_db: Curve) -> Samples:
    """Return samples with ``(P,)`` gains at P frequencies evenly spaced in log frequency; without phase."""

    def gain(frequencies_hz: Curve) -> Curve:
        points = np.linspace(np.log(_LOWEST_HZ), np.log(SAMPLE_RATE_HZ / 2), len(gains_db))
        curve_db = np.interp(np.log(np.maximum(frequencies_hz, _LOWEST_HZ)), points, gains_db)
        curve: Curve = 10 ** (curve_db / 20)
        return curve

    return _filtered(samples, gain)


def drop_band(samples: Samples, low_hz: float, high_hz: float) -> Samples:
    """Return samples without the frequencies from ``low_hz`` to ``high_hz``."""
    return _filtered(samples, lambda hz: ((hz < low_hz) | (hz >= high_hz)).astype(np.float64))


def drop_time(samples: Samples, first: int, count: int) -> Samples:
    """Return samples of which ``count`` are zero, beginning with ``first``."""
    dropped = samples.copy()
    dropped[first : first + count] = 0
    return dropped


def _filtered(samples: Samples, gain: Callable[[Curve], Curve]) -> Samples:
    size = fft.next_fast_len(len(samples), real=True)
    curve = gain(fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)).astype(np.float32)
    filtered: Samples = fft.irfft(fft.rfft(samples, size) * curve, size)[: len(samples)]
    return filtered


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))
