"""Boundaries: the matching is the best there is, R-value is the paper's, and boundaries everywhere do not pay."""

import numpy as np
import pytest

from speechunits.evaluation.boundaries import Segmentation, inner_boundaries, matches, segmentation
from tests.reference import boundaries as reference


@pytest.mark.parametrize("seed", range(40))
def test_no_matching_has_more_pairs(seed):
    rng = np.random.default_rng(seed)
    found, true = (list(rng.uniform(0, 0.3, rng.integers(0, 7))) for _ in range(2))
    assert matches(found, true) == reference.best_matching(found, true, 0.02)


def test_the_tolerance_includes_its_edge():
    assert matches([0.30], [0.28]) == matches([0.1 + 0.2], [0.32]) == 1
    assert matches([0.30], [0.2799]) == 0


def test_known_answers():
    perfect = segmentation([([0.1, 0.2], [0.2, 0.1]), ([0.5], [0.5])])
    assert (perfect.precision, perfect.recall, perfect.f1, perfect.r_value) == (1, 1, 1, 1)
    half = segmentation([([0.1], [0.1, 0.2])])
    assert (half.precision, half.recall, half.f1, half.over_segmentation) == (1, 0.5, pytest.approx(2 / 3), -0.5)
    for scores in (half, Segmentation(hits=3, found=9, true=4), Segmentation(hits=0, found=5, true=4)):
        expected = reference.r_value(100 * scores.recall, 100 * scores.over_segmentation)
        assert scores.r_value == pytest.approx(expected)
    nothing = segmentation([])
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)


def test_boundaries_everywhere_win_recall_but_not_r_value():
    true = np.arange(0.1, 10, 0.1)
    everywhere = segmentation([(np.arange(0.02, 10, 0.02), true)])
    sparse = segmentation([(true[::2], true)])
    assert everywhere.recall == 1
    assert everywhere.r_value < 0 < sparse.r_value


def test_what_lies_within_the_alignment_counts():
    assert inner_boundaries([(0.0, 0.1), (0.1, 0.3), (0.35, 0.5)], 0.0, 0.5) == [0.1, 0.3, 0.35]
    assert inner_boundaries([], 0.0, 1.0) == []
