"""Information less its bias: nothing where there is nothing, the entropy where one is the other."""

import numpy as np
import pytest

from speechunits.errors import UsageError
from speechunits.evaluation.dependence import joint_counts, owner_information, paired_information
from speechunits.evaluation.information import entropy_bits, mutual_information_bits
from tests.reference import dependence as oracle
from tests.reference import information as reference


def lasting(rng, clusters, frames, longest=8):
    return np.repeat(rng.integers(0, clusters, frames), rng.integers(2, longest, frames))[:frames]


def test_independent_sequences_tell_nothing():
    rng = np.random.default_rng(0)
    left = [lasting(rng, 40, 400) for _ in range(12)]
    right = [lasting(rng, 20, 400) for _ in range(12)]
    found = paired_information(left, right, shifts=20)
    miller = 39 * 19 / (2 * 12 * 400 * np.log(2))
    # Frames that last are fewer than they seem: the textbook correction would leave half of the bias.
    assert found.plug_in_bits > 2 * miller
    assert abs(found.bits) < 0.02


def test_equal_sequences_tell_all_but_the_bias():
    rng = np.random.default_rng(1)
    rows = [lasting(rng, 8, 500) for _ in range(10)]
    found = paired_information(rows, rows)
    assert found.plug_in_bits == pytest.approx(entropy_bits(np.bincount(np.concatenate(rows))))
    assert found.bits > found.plug_in_bits - 0.1


def test_shifts_are_those_of_the_definition():
    left, right = [0, 1, 2, 2], [0, 0, 1, 1]
    found = paired_information([np.array(left)], [np.array(right)], shifts=3000)
    assert found.plug_in_bits == pytest.approx(reference.mutual_information(left, right))
    assert found.chance_bits == pytest.approx(oracle.mean_over_shifts(left, right), abs=0.02)


def test_speakers_that_say_the_same_are_not_told_apart():
    rng = np.random.default_rng(2)
    owners = [f"s{index % 4}" for index in range(24)]
    found = [
        owner_information([lasting(rng, 50, 300, 20) for _ in owners], owners, permutations=100) for _ in range(10)
    ]
    assert np.mean([one.plug_in_bits for one in found]) > 0.05
    assert abs(np.mean([one.bits for one in found])) < 0.005


def test_units_that_are_the_speaker_tell_all_of_it():
    owners = [f"s{index % 4}" for index in range(200)]
    units = [np.full(50, index % 4) for index in range(200)]
    found = owner_information(units, owners)
    assert found.plug_in_bits == pytest.approx(2.0)
    assert found.bits == pytest.approx(2.0, abs=0.1)


def test_owners_change_places_as_in_the_definition():
    rng = np.random.default_rng(3)
    units = [rng.integers(0, 3, 5) for _ in range(5)]
    owners = ["a", "a", "b", "b", "b"]
    found = owner_information(units, owners, permutations=3000)
    assert found.chance_bits == pytest.approx(
        oracle.mean_over_owners([row.tolist() for row in units], owners), abs=0.01
    )
    pairs = [(unit, owner) for row, owner in zip(units, owners, strict=True) for unit in row.tolist()]
    assert found.plug_in_bits == pytest.approx(reference.mutual_information(*map(list, zip(*pairs, strict=True))))


@pytest.mark.parametrize("owners", [["a", "a"], ["a", "b"]])
def test_a_question_without_an_answer_is_refused(owners):
    with pytest.raises(UsageError, match="two speakers"):
        owner_information([np.array([0, 1]), np.array([1, 1])], owners)


def test_sides_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="as long"):
        paired_information([np.arange(3)], [np.arange(4)])


def test_joint_counts():
    assert joint_counts(np.array([0, 2, 2]), np.array([1, 0, 0])).tolist() == [[0, 1], [0, 0], [2, 0]]
    assert mutual_information_bits(joint_counts(np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0
