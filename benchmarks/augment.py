"""How many seconds of audio a core alters a second; `python -m benchmarks.augment`.

Every alteration alone and always applied, what a training row gets (`augment` at its usual probability) and two whole
views, over crops of noise as long as a batch's. Processor time of one thread: best of the rounds, so that other
programs count as little as they can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from speechunits.audio.augment import augment, make_views
from speechunits.config import ViewsConfig
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.report.tables import markdown

Way = Callable[..., object]

_OFF = {"pitch_cents": 0.0, "decay_s": 0.0, "equaliser_db": 0.0, "dropped_hz": 0.0, "dropped_s": 0.0, "speed": 0.0}
"""Noise has no switch: it is in every row, at less than a tenth of what pitch costs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crop-s", type=float, default=5.0)
    parser.add_argument("--crops", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    crops = [
        (0.1 * rng.standard_normal(round(options.crop_s * SAMPLE_RATE_HZ))).astype(np.float32)
        for _ in range(options.crops)
    ]
    usual, always = ViewsConfig(), ViewsConfig(probability=1.0)
    ways: dict[str, Way] = {
        f"{name} and noise": partial(augment, config=replace(always, **{**_OFF, field: getattr(always, field)}))
        for name, field in (
            ("pitch", "pitch_cents"), ("room", "decay_s"), ("equaliser", "equaliser_db"), ("band", "dropped_hz"),
            ("gap", "dropped_s"),
        )
    }  # fmt: skip
    ways |= {"a training row": partial(augment, config=usual), "two views": partial(make_views, config=usual)}
    rows = [[name, f"{speed(way, crops, options.rounds):.0f}"] for name, way in ways.items()]
    print(markdown(("alteration", "x real time of a core"), rows))


def speed(way: Callable[[np.ndarray, np.random.Generator], object], crops: Sequence[np.ndarray], rounds: int) -> float:
    """Return seconds of source audio a second of processor time, the best of so many rounds."""
    seconds = []
    for _ in range(rounds + 1):  # the first one imports and plans
        generator = np.random.default_rng(1)
        started = time.process_time()
        for crop in crops:
            way(crop, generator=generator)
        seconds.append(time.process_time() - started)
    return sum(map(len, crops)) / SAMPLE_RATE_HZ / min(seconds[1:])


if __name__ == "__main__":
    main()
