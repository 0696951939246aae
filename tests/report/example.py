"""A made-up sweep and sentence for reports."""

from types import SimpleNamespace

import numpy as np

from speechunits.config import ReductionConfig
from speechunits.evaluation.reduction import reduction
from speechunits.evaluation.score import Score

CURVES = {
    "pretrained": {1: 0.42, 4: 0.33, 16: 0.26},
    "untrained": {1: 0.93, 4: 0.66, 16: 0.40, 60: 0.22},
    "logmel": {1: 0.80, 4: 0.55, 16: 0.36, 60: 0.27},
}
QUALITY = {
    "units": {"clusters": 100, "layer": 3, "without_silence": {"pnmi": 0.52, "pnmi_corrected": 0.47},
              "with_silence": {"pnmi": 0.5}, "predictable_bits_a_frame": 3.1, "active": 100},
    "MFCC k-means": {"clusters": 100, "layer": None, "without_silence": {"pnmi": 0.43, "pnmi_corrected": 0.36},
                     "with_silence": {"pnmi": 0.4}, "predictable_bits_a_frame": 2.2, "active": 98},
}  # fmt: skip


def sweep(curves=None, *, seeds=3, reported="dev"):
    """Return the scores of a made-up sweep."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 60, 60)
    return [
        Score(side=side, minutes=minutes, seed=seed, minutes_actual=minutes, split=split,
              hashes=tuple(map(str, range(60))), errors=tuple(map(int, generator.binomial(lengths, rate))),
              lengths=tuple(map(int, lengths)))
        for side, curve in (curves or CURVES).items() for minutes, rate in curve.items()
        for seed in range(seeds) for split in (reported, "tune")
    ]  # fmt: skip


def table(curves=None, *, smoke=False, seeds=3):
    return reduction(sweep(curves, seeds=seeds), ReductionConfig(bootstrap=50), smoke=smoke)


def sentence():
    phones = [(0.0, 0.1, "SIL"), (0.1, 0.18, "k"), (0.18, 0.3, "a"), (0.3, 0.42, "s"), (0.42, 0.6, "a")]
    units = [(0.0, 0.1, 7), (0.1, 0.12, 42), (0.12, 0.3, 3), (0.3, 0.44, 99), (0.44, 0.6, 3)]
    return SimpleNamespace(
        text="casa",
        duration_s=0.6,
        phones=[SimpleNamespace(start_s=a, end_s=b, label=c) for a, b, c in phones],
        intervals=[SimpleNamespace(start_s=a, end_s=b, unit=c) for a, b, c in units],
    )
