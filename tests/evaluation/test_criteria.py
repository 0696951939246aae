"""Label-free criteria on units and features whose order is known."""

import numpy as np
import pytest

from speechunits.errors import UsageError
from speechunits.evaluation.criteria import (
    LayerUnits,
    criterion_values,
    measure,
    needed,
    stability,
    standardised,
    view_abx_error,
)
from tests.reference import dependence as oracle


def lasting(rng, clusters, frames):
    return np.repeat(rng.integers(0, clusters, frames), rng.integers(2, 8, frames))[:frames]


def test_stability_is_one_for_equal_clusterings_and_zero_for_strangers():
    rng = np.random.default_rng(0)
    rows = [lasting(rng, 10, 300) for _ in range(8)]
    renamed = rng.permutation(10)
    assert stability(rows, [renamed[row] for row in rows]) == pytest.approx(1.0)
    assert abs(stability(rows, [lasting(rng, 10, 300) for _ in range(8)])) < 0.02
    assert stability([np.zeros(9, np.int64)], [np.zeros(9, np.int64)]) == 0
    half = [np.where(rng.random(300) < 0.3, rng.integers(0, 10, 300), row) for row in rows]
    assert 0.2 < stability(rows, half) < 0.8


def test_stability_is_adjusted_mutual_information():
    left, right = [0, 1, 2, 2, 1, 0], [0, 0, 1, 1, 1, 0]
    # Of one recording, each of the five shifts is drawn once in five: ten draws come near their mean.
    chance = oracle.mean_over_shifts(left, right)
    draws = [stability([np.array(left)], [np.array(right)], seed=seed) for seed in range(200)]
    assert np.mean(draws) == pytest.approx(oracle.adjusted(left, right, chance), abs=0.05)


def test_abx_between_copies_is_the_loop_over_all_triples():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((12, 5)).astype(np.float32)
    copies = (features + rng.standard_normal((12, 5))).astype(np.float32)

    def cosine(x, y):
        return 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    a, x = features - features.mean(0), copies - copies.mean(0)
    triples = [(i, j) for i in range(12) for j in range(12) if i != j]
    wrong = [cosine(x[i], a[i]) > cosine(x[i], a[j]) for i, j in triples]
    assert view_abx_error(features, copies) == pytest.approx(np.mean(wrong))
    assert view_abx_error(features, features) == 0
    assert view_abx_error(np.ones((4, 2), np.float32), np.ones((4, 2), np.float32)) == 0.5
    assert view_abx_error(features[:1], copies[:1]) == 0.5


def test_a_better_layer_is_better_by_every_criterion():
    rng = np.random.default_rng(2)
    cycle = np.arange(24) % 6
    spoken = [np.repeat(np.roll(cycle, rng.integers(6)), rng.integers(2, 7, 24)) for _ in range(30)]
    frames = np.concatenate(spoken[20:])
    points = np.eye(6, dtype=np.float32)[frames]

    def layer(noise):
        def heard(rows):
            return [np.where(rng.random(len(row)) < noise, rng.integers(0, 6, len(row)), row) for row in rows]

        return measure(LayerUnits(
            clusters=6, train=heard(spoken[:20]), held_out=heard(spoken[20:]), altered=heard(spoken[20:]),
            halves=(heard(spoken[20:]), heard(spoken[20:])), features=points,
            altered_features=(points + 3 * noise * rng.standard_normal(points.shape)).astype(np.float32),
            speakers=[None] * 10,
        ))  # fmt: skip

    good, bad = layer(0.05), layer(0.4)
    assert sorted(good) == ["predictability", "run_predictability", "stability", "view_abx", "view_information"]
    assert all(good[name] > bad[name] for name in good)


def test_units_that_know_the_speaker_are_worse_by_that_criterion():
    rng = np.random.default_rng(3)
    spoken = [lasting(rng, 5, 200) for _ in range(20)]
    speakers = [f"s{index % 2}" for index in range(20)]
    told = [row + 5 * (index % 2) for index, row in enumerate(spoken)]
    empty = np.zeros((0, 1), np.float32)

    def speaker(rows):
        layer = LayerUnits(clusters=10, train=[], held_out=rows, altered=rows, halves=(rows, rows), features=empty,
                           altered_features=empty, speakers=speakers)  # fmt: skip
        return measure(layer, ["speaker"])["speaker"]

    assert speaker(told) < -0.8
    assert abs(speaker(spoken)) < 0.05


def test_a_combination_is_the_mean_of_standardised_parts():
    scores = {"view_information": [1.0, 2.0, 3.0], "run_predictability": [0.0, 0.0, 6.0], "view_abx": [9.0, 1.0, 1.0]}
    expected = (standardised(scores["view_information"]) + standardised(scores["run_predictability"])) / 2
    assert criterion_values(scores, "combined") == pytest.approx(expected.tolist())
    assert criterion_values(scores, "view_information") == [1.0, 2.0, 3.0]
    assert standardised([2.0, 2.0]).tolist() == [0, 0]
    assert needed("view_abx") == ("view_abx",)
    with pytest.raises(UsageError, match="needs speakers"):
        criterion_values(scores, "speaker")
