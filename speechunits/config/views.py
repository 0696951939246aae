"""How two views of one recording are made."""

from __future__ import annotations

from dataclasses import dataclass

from speechunits.config.ranges import AT_LEAST_0, NOT_0, SHARE, Range, check_ranges

_BAND = Range("within [0, 8000), all there is at 16 kHz", lambda width: 0 <= width < 8000)


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Two crops of a piece with different random starts, each altered on its own.

    0 switches an alteration off; but for ``snr_db``, which is a ratio: 0 is noise as loud as the speech, 100 none that
    could be heard.
    """

    crop: float = 0.8
    """Share of the piece that each view keeps; starts are multiples of 320 samples."""
    probability: float = 0.7
    """With which each of the alterations below is applied to a view."""
    speed: float = 0.05
    """Largest relative change of speed, pitch included."""
    pitch_cents: float = 300.0
    """Largest shift of pitch (WavAugment's ± 300 cents); durations stay."""
    equaliser_db: float = 4.0
    """Standard deviation of the gains of eight bands."""
    decay_s: float = 0.4
    """Longest time in which a room decays by 60 dB."""
    snr_db: float = 8.0
    """Lowest signal-to-noise ratio; drawn up to 30 dB above it, noise from white to brown."""
    dropped_s: float = 0.1
    """Longest stretch of time set to zero."""
    dropped_hz: float = 400.0
    """Widest band of frequencies set to zero."""

    def __post_init__(self) -> None:
        sizes = ("pitch_cents", "equaliser_db", "decay_s", "dropped_s")
        check_ranges(self, {NOT_0: ("crop",), SHARE: ("probability",), AT_LEAST_0: sizes, _BAND: ("dropped_hz",)})
        if not 0 <= self.speed < 0.5:
            raise ValueError(f"speed must be within [0, 0.5), but is {self.speed} instead")
