"""Two views of a recording: each alteration against what it says of itself."""

import numpy as np
import pytest

from speechunits.audio import augment as augmentation
from speechunits.audio.batch import Row, collate
from speechunits.config import ViewsConfig
from tests.reference.audio import sine

RATE = 16_000
STILL = {"speed": 0.0, "probability": 0.0}


def noise(seconds=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def tone(hertz, seconds=1.0):
    return sine(hertz, seconds, RATE).astype(np.float32)


def loudest_hz(samples):
    return np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE / len(samples)


@pytest.mark.parametrize("cents", [-300.0, 150.0, 300.0])
def test_pitch_moves_and_time_stays(cents):
    shifted = augmentation.shift_pitch(tone(500), cents)
    assert len(shifted) == RATE
    assert shifted.dtype == np.float32
    assert loudest_hz(shifted[2000:-2000]) == pytest.approx(500 * 2 ** (cents / 1200), rel=0.01)
    late = np.concatenate((np.zeros(RATE // 2, np.float32), tone(500, 0.5)))
    assert np.abs(augmentation.shift_pitch(late, cents)[: RATE // 2 - 800]).max() < 0.02
    assert np.isfinite(augmentation.shift_pitch(np.zeros(RATE, np.float32), cents)).all()


def test_a_room_is_a_convolution_that_decays_by_60_db():
    response = augmentation.room_response(0.3, 6.0, np.random.default_rng(0))
    assert (response[0], len(response)) == (1, 4800)
    assert 10 * np.log10(1 / np.square(response[1:]).sum()) == pytest.approx(6, abs=1e-3)
    assert not response[1:80].any()
    first, last = (np.square(part).mean() for part in (response[100:500], response[-400:]))
    seconds = (len(response) - 200 - 300) / RATE
    assert 10 * np.log10(first / last) == pytest.approx(60 * seconds / 0.3, abs=2.0)
    samples = noise(0.1)
    expected = np.convolve(samples, response)[: len(samples)]
    np.testing.assert_allclose(augmentation.convolve(samples, response), expected, atol=1e-5)


@pytest.mark.parametrize("snr_db", [5.0, 20.0])
def test_noise_is_as_loud_and_as_coloured_as_asked(snr_db):
    samples = tone(1000, 4.0)
    added = augmentation.add_noise(samples, snr_db, 2.0, np.random.default_rng(0)).astype(np.float64) - samples
    ratio = np.square(samples, dtype=np.float64).mean() / np.square(added).mean()
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
    spectrum, hertz = np.square(np.abs(np.fft.rfft(added))), np.fft.rfftfreq(len(added), 1 / RATE)
    low, high = (spectrum[(hertz > centre * 0.9) & (hertz < centre * 1.1)].mean() for centre in (400, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(20, abs=1.5)


def test_the_equaliser_passes_its_points_through_with_their_gains():
    gains_db = np.array([-6.0, 6.0, 0.0])
    points_hz = np.exp(np.linspace(np.log(60), np.log(8000), 3))
    for hertz, gain_db in ((points_hz[1], 6.0), ((points_hz[1] * 8000) ** 0.5, 3.0)):
        out = augmentation.equalise(tone(hertz), gains_db)[2000:-2000]
        level = np.sqrt(np.square(out).mean() / np.square(tone(hertz)[2000:-2000]).mean())
        assert 20 * np.log10(level) == pytest.approx(gain_db, abs=0.1)


def test_dropped_bands_and_stretches_are_gone_and_the_rest_stays():
    out = augmentation.drop_band(tone(1000) + tone(3000), 900, 1200)[1000:-1000]
    np.testing.assert_allclose(out, tone(3000)[1000:-1000], atol=2e-3)
    samples = noise()
    dropped = augmentation.drop_time(samples, 300, 500)
    assert not dropped[300:800].any()
    np.testing.assert_array_equal(np.delete(dropped, np.s_[300:800]), np.delete(samples, np.s_[300:800]))


def test_views_without_alterations_match_sample_by_sample():
    samples = noise(2.0)
    views = augmentation.make_views(samples, ViewsConfig(crop=0.5, **STILL), np.random.default_rng(3))
    assert len(views.first) == len(views.second) == RATE
    shared = [(frame, match) for frame, match in enumerate(views.matches) if match >= 0]
    assert len(shared) > 5
    assert any(frame != match for frame, match in shared)
    for frame, match in shared:
        one, other = (view[320 * place :][:400] for view, place in ((views.first, frame), (views.second, match)))
        np.testing.assert_array_equal(one, other)
    for frame, origin in enumerate(views.origins):
        np.testing.assert_array_equal(views.first[320 * frame :][:400], samples[320 * origin :][:400])


def test_frames_of_another_speed_are_of_the_same_moment():
    """A sweep: the frequency tells the time."""
    times_s = np.arange(4 * RATE) / RATE
    sweep = (0.3 * np.sin(2 * np.pi * (500 * times_s + 150 * times_s**2))).astype(np.float32)
    config = ViewsConfig(crop=0.8, speed=0.2, probability=1.0, pitch_cents=0, equaliser_db=0, decay_s=0, snr_db=90.0,
                         dropped_s=0, dropped_hz=0)  # fmt: skip
    views = augmentation.make_views(sweep, config, np.random.default_rng(5))
    lengths = len(views.first) / RATE, len(views.second) / RATE
    assert lengths[0] != lengths[1]
    speeds = [3.2 / length for length in lengths]
    for frame in range(20, 120, 20):
        match = views.matches[frame]
        if match < 0:
            continue
        hertz = [
            loudest_hz(np.pad(view[320 * place : 320 * place + 400], (0, 8000))) / speed
            for view, place, speed in zip((views.first, views.second), (frame, match), speeds, strict=True)
        ]
        assert hertz[0] == pytest.approx(hertz[1], abs=12)


def test_the_generator_decides_and_nothing_breaks():
    config = ViewsConfig(probability=1.0)
    for samples in (noise(2.0), np.zeros(RATE, np.float32), noise(0.03), noise(0.01)):
        first, again, other = (augmentation.make_views(samples, config, np.random.default_rng(s)) for s in (1, 1, 2))
        for one, same in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, same)
        assert all(np.isfinite(view).all() and view.dtype == np.float32 for view in first[:2])
        assert len(first.matches) == max(0, (len(first.first) - 400) // 320 + 1)
    assert len(noise(2.0)) > len(other.first)


def test_an_alteration_switched_off_leaves_the_draws_of_the_others():
    on, off = (
        augmentation.augment(
            noise(), ViewsConfig(pitch_cents=0, decay_s=0, dropped_hz=0, equaliser_db=db), np.random.default_rng(4)
        )
        for db in (0.001, 0.0)
    )
    np.testing.assert_allclose(on, off, atol=1e-3)
    assert not np.allclose(on, noise())


def test_batches_carry_views_and_speakers():
    views = [
        augmentation.make_views(noise(seconds, 7), ViewsConfig(), np.random.default_rng(1)) for seconds in (1.0, 2.0)
    ]
    rows = [
        Row(id=str(place), waveform=view.first, second=view.second, matches=view.matches, speaker="a" * place)
        for place, view in enumerate(views)
    ]
    batch = collate(rows, seed=0)
    assert batch.speakers == ("0", "a")
    assert batch.second_lengths.tolist() == [len(view.second) for view in views]
    assert batch.matches.shape == (2, (batch.waveforms.shape[1] - 400) // 320 + 1)
    np.testing.assert_array_equal(batch.matches[0, : len(views[0].matches)], views[0].matches)
    assert (batch.matches[0, len(views[0].matches) :] == -1).all()
    np.testing.assert_array_equal(batch.second[1, : len(views[1].second)], views[1].second)
