import pytest

from benchmarks.coverage import World, coverage

TRIALS = 150


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_true_factor_at_the_seeds_that_are_used(seeds):
    share, width = coverage(World(seeds=seeds, baseline_seeds=seeds), TRIALS, seed=1)
    # At least 90 %, give or take two standard errors of 150 trials.
    assert share >= 0.90 - 0.049
    assert width > 1


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_nor_does_it_cover_too_much(seeds):
    share, _ = coverage(World(seeds=seeds, baseline_seeds=seeds), 800, seed=2)
    # 90 to 98 %, give or take two standard errors of 800 trials.
    assert 0.90 - 0.021 <= share <= 0.98 + 0.0099
