"""A sentence as a picture: its spectrogram, its phones and its units, one below the other."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.load import printable
from speechunits.audio.phones import SILENCE, UNKNOWN
from speechunits.errors import UsageError
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.report.alignment import PhoneInterval
from speechunits.run import atomic_path
from speechunits.units.transcript import Span

_HOP, _FFT_SIZE, _RANGE_DB = 80, 512, 65.0
_INCHES_A_SECOND, _HEIGHT_IN, _DPI = 4.2, 3.6, 120
_LETTER_S = 0.014
"""A box has room for a label of as many characters as are this wide, at the size they are written in."""
_GOLDEN = 0.618034
_METADATA: Mapping[str, dict[str, Any] | None] = {
    ".png": {"Software": None}, ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    ".svg": {"Creator": None, "Date": None}, ".jpg": None, ".jpeg": None,
}  # fmt: skip
"""Kinds of picture, and what would tell of the program and the day: left out."""


def plot_sentence(
    waveform: NDArray[np.float32],
    phones: Sequence[PhoneInterval],
    units: Sequence[Span],
    path: Path,
    *,
    title: str = "",
) -> None:
    """Draw ``(T,)`` samples at 16 kHz over their phones and runs of units, all on one axis of time.

    Equal units have equal colours; a thin line leads from each edge of a phone through the spectrogram.

    Raises
    ------
    UsageError
        As :func:`check_picture`.
    """
    check_picture(path)
    # Without pyplot, as in plots.py.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415

    duration_s = len(waveform) / SAMPLE_RATE_HZ
    figure = Figure(figsize=(max(6.0, _INCHES_A_SECOND * duration_s), _HEIGHT_IN), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    spectrogram, spoken, found = figure.subplots(3, 1, sharex=True, height_ratios=(6, 1, 1))
    spectrogram.imshow(
        decibels(waveform), origin="lower", aspect="auto", cmap="gray_r", vmin=-_RANGE_DB, vmax=0,
        extent=(0, duration_s, 0, SAMPLE_RATE_HZ / 2000), interpolation="bilinear",
    )  # fmt: skip
    for phone in phones:
        spectrogram.axvline(phone.start_s, color="#0072B2", linewidth=0.6, alpha=0.6)
    spectrogram.set_ylabel("kHz")
    spectrogram.set_title(title, fontsize=10, loc="left", parse_math=False)
    silent = [phone.label in (SILENCE, UNKNOWN) for phone in phones]
    _draw_boxes(
        spoken,
        [(phone.start_s, phone.end_s, "" if mute else phone.label) for phone, mute in zip(phones, silent, strict=True)],
        ["#e8e8e8" if mute else "#ffffff" for mute in silent],
        "phones", 10,
    )  # fmt: skip
    _draw_boxes(found, [(run.start_s, run.end_s, run.label) for run in units], [_color(run.label) for run in units],
                "units", 6)  # fmt: skip
    found.set_xlabel("seconds")
    found.set_xlim(0, duration_s)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=_METADATA[path.suffix.lower()])


def check_picture(path: Path) -> None:
    """Check that a picture of this name can be drawn. Raises UsageError for another kind of file, or no matplotlib."""
    if path.suffix.lower() not in _METADATA:
        raise UsageError(
            f"a picture must end in one of {', '.join(_METADATA)}, but {printable(path)} does not; rename it"
        )
    if util.find_spec("matplotlib") is None:
        raise UsageError("a picture needs matplotlib, which is not installed; pip install 'speechunits[report]'")


def decibels(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the ``(257, M)`` spectrogram of ``(T,)`` samples in dB below its loudest place; 25 ms every 5 ms."""
    padded = np.pad(waveform.astype(np.float64), RECEPTIVE_FIELD // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, RECEPTIVE_FIELD)[::_HOP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(RECEPTIVE_FIELD), _FFT_SIZE))).T
    quiet = max(float(power.max()), 1e-12) * 10 ** (-_RANGE_DB / 10)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, quiet) / max(float(power.max()), 1e-12))
    return levels


def _draw_boxes(
    axes: Any, boxes: Sequence[tuple[float, float, str]], colors: Sequence[str], name: str, size: float
) -> None:
    for (start_s, end_s, label), color in zip(boxes, colors, strict=True):
        axes.axvspan(start_s, end_s, facecolor=color, edgecolor="#666666", linewidth=0.5)
        if label and end_s - start_s >= _LETTER_S * len(label):
            axes.text(
                (start_s + end_s) / 2, 0.48, label, ha="center", va="center", fontsize=size, clip_on=True,
                parse_math=False,
            )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _color(unit: str) -> str:
    """Return a light colour; numbers near each other get colours far apart."""
    place = int(unit) * _GOLDEN
    red, green, blue = colorsys.hls_to_rgb(place % 1, 0.72 + 0.1 * (int(unit) % 3 - 1), 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
