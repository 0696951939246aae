"""Samples of any rate at 16 kHz."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from speechunits.errors import InputRefused
from speechunits.frames import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]


def mono(waveform: npt.ArrayLike) -> Samples:
    """Return ``(T,)`` samples that somebody gives.

    Raises
    ------
    InputRefused
        For another shape, whole numbers (their full scale is not known), what is not finite, or no numbers at all.
    """
    try:
        given = np.asarray(waveform)
        samples = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputRefused(
            f"a waveform must be an array of floats, but this cannot be made one ({error}); of a tensor, give "
            ".detach().cpu().float()"
        ) from error
    if given.size and given.dtype.kind in "iub":
        raise InputRefused(
            f"a waveform must be floats within [-1, 1], but holds {given.dtype}; divide it by its full scale "
            "(32768 for 16 bits)"
        )
    if samples.ndim != 1:
        raise InputRefused(f"a waveform must be (T,) mono samples, but has shape {samples.shape} instead")
    if not np.isfinite(samples).all():
        raise InputRefused("a waveform must be finite, but holds NaN or infinite samples")
    return samples


def resample(samples: Samples, rate_hz: float) -> Samples:
    """Return ``(T,)`` samples of rate ``rate_hz`` at 16 kHz; at least one sample where there was one.

    Raises
    ------
    InputRefused
        If the rate is none.
    """
    import soxr  # noqa: PLC0415 - imported where needed: manifests and splits work without it

    if not 0 < rate_hz < math.inf:
        raise InputRefused(f"a rate must be above 0 Hz, but is {rate_hz:g} instead")
    if rate_hz == SAMPLE_RATE_HZ or len(samples) == 0:
        return samples
    resampled: Samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    # The filter may return nothing for a handful of samples, but a recording that exists is never zero samples long.
    return resampled if len(resampled) else samples[:1]
