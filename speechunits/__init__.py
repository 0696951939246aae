"""Speech units without transcripts: pretraining, units, pseudo-text, recognition, and an honest reduction factor.

Five names are the public interface: ``load``, the ``units`` and ``transcribe`` of what it returns, ``load_recognizer``,
and the ``recognize`` of what that returns. All else may change between versions.

>>> import numpy, speechunits
>>> inventory = speechunits.load("units.safetensors")
>>> waveform = numpy.sin(numpy.arange(16_000) / 9).astype("float32")  # one second at 16 kHz, mono
>>> inventory.units(waveform, 16_000).shape  # one unit every 20 ms
(49,)
>>> transcript = inventory.transcribe("take.wav")
>>> transcript.id, transcript.duration_s, len(transcript.units)
('take', 1.0, 49)
>>> recognizer = speechunits.load_recognizer("asr.safetensors")
>>> type(recognizer.recognize("take.wav").text)
<class 'str'>
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechunits.asr.decode import SpeechRecognizer
    from speechunits.units.units import Units

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_recognizer"]


def load(bundle: str | Path) -> Units:
    """Return the units of a bundle: ``.units(waveform, rate_hz)`` and ``.transcribe(path)``.

    Raises
    ------
    ModelRefused
        If the file is missing, damaged, or no units bundle.
    """
    from speechunits.units.units import Units  # noqa: PLC0415 - importing the package stays light

    return Units.load(Path(bundle))


def load_recognizer(bundle: str | Path, *, lm: str | Path | None = None) -> SpeechRecognizer:
    """Return the recogniser of a bundle: ``.recognize(path)``; with ``lm``, an ARPA file, its texts are searched.

    Raises
    ------
    ModelRefused
        If the file is missing, damaged, or no recogniser bundle.
    UsageError
        If the language model is over another alphabet.
    """
    from speechunits.asr.decode import SpeechRecognizer  # noqa: PLC0415

    return SpeechRecognizer.load(Path(bundle), lm=None if lm is None else Path(lm))
