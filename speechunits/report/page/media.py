"""Sound and pictures of sound as ``data:`` addresses, which need no file beside the page."""

from __future__ import annotations

import base64
import io

import numpy as np

from speechunits.audio.resample import Samples
from speechunits.frames import SAMPLE_RATE_HZ

_RANGE_DB = 65.0
"""Below the loudest point by this much is white."""
_QUIETEST_DB = -50.0
"""Of the loudest point: digital silence is white, too."""
_WINDOW, _STEP = 256, 80
"""16 ms and 5 ms: short enough to see bursts, long enough to see the formants."""


def flac_address(samples: Samples) -> str:
    """Return ``(T,)`` samples at 16 kHz as FLAC of 16 bits: exact in time, unlike codecs that pad, so a cursor fits."""
    import soundfile  # noqa: PLC0415 - only where a page is written

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return _address("audio/flac", file.getvalue())


def spectrogram_address(samples: Samples) -> str:
    """Return the spectrogram of ``(T,)`` samples at 16 kHz as a grey JPEG, 0 to 8 kHz from the bottom, loud is dark.

    Its width is the duration: the centre of the first column is at 0 s, and columns are 5 ms apart.
    """
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib
    from scipy.signal import ShortTimeFFT  # noqa: PLC0415 - slow to import
    from scipy.signal.windows import hann  # noqa: PLC0415

    transform = ShortTimeFFT(hann(_WINDOW), hop=_STEP, fs=SAMPLE_RATE_HZ)
    # Speech falls by 6 dB an octave: raised again, high formants and fricatives are seen.
    raised = np.append(samples[:1], samples[1:] - 0.95 * samples[:-1])
    padded = np.pad(raised, (0, max(0, _WINDOW - len(raised))))
    power = transform.spectrogram(padded, p0=0, p1=max(1, round(len(samples) / _STEP)))
    level = 10 * np.log10(power + 1e-12)
    darkness = np.clip((level - max(level.max(), _QUIETEST_DB)) / _RANGE_DB + 1, 0, 1)
    file = io.BytesIO()
    Image.fromarray((255 * (1 - darkness[::-1])).astype(np.uint8)).save(file, "JPEG", quality=72)
    return _address("image/jpeg", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
