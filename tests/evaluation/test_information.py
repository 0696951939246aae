"""Entropy, mutual information, Kneser–Ney: against slow oracles and on sources whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.evaluation.information import (
    KneserNey,
    entropy_bits,
    held_out_predictability,
    mutual_information_bits,
)
from tests.reference import information as reference

symbol_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=60)


@given(symbol_lists)
def test_entropy_and_mutual_information_match_the_definitions(pairs):
    left, right = zip(*pairs, strict=True)
    joint = np.zeros((5, 7), np.int64)
    np.add.at(joint, (left, right), 1)
    assert entropy_bits(joint.sum(axis=0)) == pytest.approx(reference.entropy(right), abs=1e-9)
    assert mutual_information_bits(joint) == pytest.approx(reference.mutual_information(left, right), abs=1e-9)


def test_entropy_of_nothing_is_zero():
    assert entropy_bits(np.zeros(4, np.int64)) == 0


sequences = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(train=sequences, tune=sequences, order=st.integers(1, 4))
def test_kneser_ney_matches_the_oracle(train, tune, order):
    if not any(train):
        train = [[0, 1], *train]
    ours = KneserNey([np.array(s, np.int64) for s in train], 4, order)
    oracle = reference.KneserNey(train, 4, order)
    expected = [oracle.probability(u, s[:i]) for s in tune for i, u in enumerate(s)]
    assert ours.probabilities([np.array(s, np.int64) for s in tune]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("clusters", [3, 50])
def test_kneser_ney_sums_to_one_in_any_context(clusters):
    rng = np.random.default_rng(0)
    train = [np.repeat(rng.integers(0, clusters, 200), rng.integers(1, 4, 200)) for _ in range(10)]
    model = KneserNey(train, clusters)
    for length in (0, 1, 3, 7):
        for context in (rng.integers(0, clusters, length), train[0][:length]):
            everything = [np.append(context, unit) for unit in range(clusters)]
            last = model.probabilities(everything)[length :: length + 1]
            assert last.min() > 0
            assert last.sum() == pytest.approx(1, abs=1e-12)


def test_independent_units_are_not_predictable():
    rng = np.random.default_rng(1)
    few = held_out_predictability([rng.integers(0, 20, 5_000)], [rng.integers(0, 20, 20_000)], 20)
    many = held_out_predictability([rng.integers(0, 4, 100_000)], [rng.integers(0, 4, 20_000)], 4)
    # Held out, an unpredictable source costs what the predictor overfits, and never gains.
    assert few.bits < 0
    assert many.bits == pytest.approx(0, abs=0.02)


def test_a_cycle_is_fully_predictable():
    cycle = np.tile(np.arange(16), 200)
    result = held_out_predictability([cycle], [cycle], 16)
    assert result.entropy_bits == pytest.approx(4)
    assert result.bits == pytest.approx(4, abs=0.02)


def test_one_constant_unit_holds_no_information():
    collapsed = np.zeros(500, np.int64)
    assert held_out_predictability([collapsed], [collapsed], 100).bits == pytest.approx(0, abs=0.01)


def test_a_markov_chain_gives_its_mutual_information():
    rng = np.random.default_rng(2)

    # A unit stays with probability .8, otherwise any of the 8 follows: entropy 3 bits, transition known.
    def chain(length):
        jumps = np.where(rng.random(length) < 0.8, -1, rng.integers(0, 8, length))
        jumps[0] = 0
        places = np.maximum.accumulate(np.where(jumps >= 0, np.arange(length), 0))
        return jumps[places]

    row = np.full(8, 0.2 / 8)
    row[0] += 0.8
    expected = 3 + (row * np.log2(row)).sum()
    result = held_out_predictability([chain(100_000)], [chain(100_000)], 8)
    assert result.bits == pytest.approx(expected, abs=0.03)


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="at least one held-out unit"):
        held_out_predictability([np.array([1, 2])], [np.array([], np.int64)], 4)
    with pytest.raises(ValueError, match="fitted on at least one"):
        KneserNey([], 4)
