"""Field recordings from clean speech."""

import numpy as np
import pytest

from speechunits.audio.degrade import Field, degrade, set_level
from tests.reference.audio import sine

RATE = 16_000
DRY = {"decay_s": (0.1, 0.1), "direct_db": (80.0, 80.0), "equaliser_db": 0.0, "level_db": (-20.0, -20.0)}


def babble():
    return np.random.default_rng(9).normal(0, 0.1, 20_000).astype(np.float32)


def speech():
    samples = sine(500, 2.0, RATE).astype(np.float32)
    samples[: RATE // 2] = 0
    return samples


@pytest.mark.parametrize("snr_db", [3.0, 22.0])
def test_the_noise_is_as_loud_as_asked(snr_db):
    voiced = speech() != 0
    field = Field(snr_db=(snr_db, snr_db), **DRY)
    out = degrade(speech(), voiced, babble(), RATE, np.random.default_rng(0), field).astype(np.float64)
    clean = speech().astype(np.float64)
    gain = (out @ clean) / (clean @ clean)
    noise = out - gain * clean
    measured_db = 10 * np.log10(np.mean((gain * clean[voiced]) ** 2) / np.mean(noise**2))
    assert measured_db == pytest.approx(snr_db, abs=0.6)


def test_the_direct_sound_stays_in_its_place():
    click = np.zeros(RATE, np.float32)
    click[5000] = 1
    field = Field(snr_db=(60.0, 60.0), equaliser_db=0.0, direct_db=(0.0, 0.0))
    out = degrade(click, click != 0, babble(), RATE, np.random.default_rng(1), field)
    assert np.argmax(np.abs(out)) == 5000
    assert np.abs(out[5200:9000]).mean() > 3 * np.abs(out[:4000]).mean()


def test_levels_and_clipping():
    assert np.sqrt(np.mean(set_level(speech(), -30.0) ** 2)) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    assert np.abs(set_level(speech(), 0.0)).max() == pytest.approx(0.98, rel=1e-4)
    assert not set_level(np.zeros(10, np.float32), -20.0).any()


def test_the_generator_decides():
    voiced = speech() != 0
    first, again, other = (degrade(speech(), voiced, babble(), RATE, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert len(first) == len(speech())
    assert np.isfinite(first).all()
