import pytest

from benchmarks.coverage import World, coverage

TRIALS = 150


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_true_factor_at_the_seeds_that_are_used(seeds):
    share, width = coverage(World(seeds=seeds, baseline_seeds=seeds), TRIALS, seed=1)
    # 90 to 98 %, give or take two standard errors of 150 trials.
    assert 0.90 - 0.035 <= share <= 0.98 + 0.02
    assert width > 1
