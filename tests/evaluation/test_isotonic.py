import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from speechunits.evaluation.isotonic import decreasing_fit, first_crossing
from tests.reference.reduction import minutes_to_reach, pool_adjacent_violators

RATES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(RATES)
def test_fit_equals_the_oracle_and_sklearn(rates):
    fit = decreasing_fit(np.array(rates))
    np.testing.assert_allclose(fit, pool_adjacent_violators(rates), atol=1e-12)
    sklearn = IsotonicRegression(increasing=False).fit_transform(np.arange(len(rates)), rates)
    np.testing.assert_allclose(fit, sklearn, atol=1e-12)


@given(RATES, st.floats(0, 1))
def test_crossing_equals_the_oracle(rates, level):
    minutes = 1.5 ** np.arange(len(rates))
    found = first_crossing(np.log(minutes), decreasing_fit(np.array(rates)), np.array(level))
    # Pooled means that differ in the last digit may put a level on either side of a flat part.
    fit = np.array(pool_adjacent_violators(rates))
    if (np.abs(fit - level) > 1e-9).all():
        assert np.exp(found) == pytest.approx(minutes_to_reach(minutes, rates, level), rel=1e-6)


def test_rows_are_independent():
    rates = np.random.default_rng(0).random((5, 3, 6))
    fit = decreasing_fit(rates)
    for row in np.ndindex(5, 3):
        np.testing.assert_array_equal(fit[row], decreasing_fit(rates[row]))
