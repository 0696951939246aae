"""PNMI, purities and their correction: on pairings whose answer is known."""

from collections import Counter

import numpy as np
import pytest

from speechunits.audio.phones import Phone
from speechunits.errors import InputRefused
from speechunits.evaluation.phones import frame_phones, unit_quality
from speechunits.frames import frame_center_s
from tests.reference import information as reference


def spoken(labels):
    """Return an alignment in which frame i carries labels[i]."""
    return [
        Phone(start_s=frame_center_s(i) - 0.01, end_s=frame_center_s(i) + 0.01, label=label)
        for i, label in enumerate(labels)
    ]


def recording(rng, names, frames=300):
    runs = rng.integers(2, 8, frames)
    return np.repeat(rng.integers(0, len(names), frames), runs)[:frames]


def test_a_frame_takes_the_phone_at_its_center():
    # Frame 0 has its centre at 12.5 ms, frame 1 at 32.5 ms, frame 2 at 52.5 ms, frame 3 at 72.5 ms.
    phones = [Phone(start_s=0.0, end_s=0.0125, label="a"), Phone(start_s=0.0125, end_s=0.05, label="b"),
              Phone(start_s=0.06, end_s=0.0725, label="c")]  # fmt: skip
    assert frame_phones(phones, 5) == ["b", "b", None, None, None]
    assert frame_phones([], 2) == [None, None]


def test_units_that_are_phones_score_one():
    rng = np.random.default_rng(0)
    names = ["SIL", *"abcdefgh"]
    data = []
    for _ in range(20):
        units = recording(rng, names)
        data.append((units, spoken([names[u] for u in units])))
    quality = unit_quality(data, len(names))
    for side, phones in ((quality.without_silence, 8), (quality.with_silence, 9)):
        assert side.pnmi == pytest.approx(1)
        assert side.pnmi_corrected == pytest.approx(1)
        assert side.phone_purity == side.cluster_purity == 1
        assert side.phones == side.units == phones
    assert quality.without_silence.frames < quality.with_silence.frames == 6000


def test_a_large_random_inventory_is_corrected_to_nothing():
    rng = np.random.default_rng(1)
    names = list("abcdefghij")
    data = [(rng.integers(0, 500, 300), spoken([names[p] for p in recording(rng, names)])) for _ in range(10)]
    side = unit_quality(data, 500).without_silence
    assert side.pnmi > 0.2
    assert abs(side.pnmi_corrected) < 0.03


def test_scores_match_the_definitions():
    rng = np.random.default_rng(2)
    units, phones = rng.integers(0, 6, 200), rng.integers(0, 3, 200)
    units = np.where(rng.random(200) < 0.5, phones, units)
    side = unit_quality([(units, spoken(["xyz"[p] for p in phones]))], 6).with_silence
    information = reference.mutual_information(list(units), list(phones))
    assert side.information_bits == pytest.approx(information)
    assert side.pnmi == pytest.approx(information / reference.entropy(list(phones)))
    pairs = Counter(zip(units, phones, strict=True))
    best_phone = sum(max(pairs[u, p] for p in range(3)) for u in range(6))
    best_unit = sum(max(pairs[u, p] for u in range(6)) for p in range(3))
    assert side.phone_purity == pytest.approx(best_phone / 200)
    assert side.cluster_purity == pytest.approx(best_unit / 200)


def test_the_chance_level_is_the_mean_over_all_rotations():
    # With three frames a recording the rotations are two, so that the mean can be enumerated.
    units, phones = np.array([0, 1, 2]), ["a", "b", "b"]
    side = unit_quality([(units, spoken(phones))], 3, shifts=200).with_silence
    rotated = [reference.mutual_information(list(np.roll(units, k)), phones) for k in (1, 2)]
    assert side.pnmi_chance == pytest.approx(np.mean(rotated) / reference.entropy(phones), abs=1e-9)


def test_unknown_phones_and_frames_past_the_alignment_are_dropped():
    quality = unit_quality([(np.arange(10), spoken(["a", "UNK", "b", "SIL", "c"]))], 10)
    assert quality.dropped_frames == 6
    assert quality.with_silence.frames == 4
    assert quality.without_silence.frames == 3


def test_equal_seeds_give_equal_chance():
    rng = np.random.default_rng(3)
    names = list("abcd")
    data = [(rng.integers(0, 9, 100), spoken([names[p] for p in recording(rng, names, 100)])) for _ in range(4)]
    assert unit_quality(data, 9, seed=5) == unit_quality(data, 9, seed=5)
    assert unit_quality(data, 9, seed=5) != unit_quality(data, 9, seed=6)


def test_no_phone_at_all_is_refused():
    with pytest.raises(InputRefused, match="no frame of 1 recordings"):
        unit_quality([(np.arange(5), [])], 5)
    with pytest.raises(InputRefused, match="silence"):
        unit_quality([(np.arange(2), spoken(["SIL", "SIL"]))], 5)
