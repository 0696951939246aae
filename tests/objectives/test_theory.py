"""Both theorems on pairs of known mutual information: neither bound exceeds it, and each ends where it must."""

import math

import pytest
import torch

from benchmarks.bounds import channel, gaussian_scores, gaussian_symbols, joint_scores, joint_symbols
from speechunits.objectives.bounds import (
    bits,
    direct_estimate_bits,
    entropy_bits,
    gaussian_information_bits,
    infonce_estimate_bits,
    joint_information_bits,
)

PAIRS = 4000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sampling_error(scores):
    """Four standard errors of the mean, in bits."""
    losses = torch.logsumexp(scores, dim=1) - scores[:, 0]
    return bits(4 * float(losses.std()) / math.sqrt(len(losses))) + 1e-9


def test_information_known_answers():
    assert gaussian_information_bits(0.0) == 0
    assert gaussian_information_bits(math.sqrt(0.75)) == pytest.approx(1.0)
    assert joint_information_bits(torch.eye(64)) == pytest.approx(6.0)
    assert joint_information_bits(torch.outer(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 5.0]))) == pytest.approx(0)
    noisy = 1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)
    assert joint_information_bits(channel(2, 0.1)) == pytest.approx(noisy)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("candidates", [2, 8, 64])
def test_cpc_exceeds_neither_log_n_nor_the_information_of_gaussian_pairs(correlation, candidates):
    scores = gaussian_scores(correlation, candidates, PAIRS, seeded(candidates))
    estimate, information = infonce_estimate_bits(scores), gaussian_information_bits(correlation)
    assert estimate <= math.log2(candidates) + 1e-9
    assert estimate <= information + sampling_error(scores)
    # The exact critic is the best one.
    for other in (0.3 * scores, scores + torch.randn(scores.shape, generator=seeded())):
        assert infonce_estimate_bits(other) < estimate + (sampling_error(scores) if correlation == 0 else 0)


def test_cpc_is_tight_where_there_are_candidates_enough():
    scores = gaussian_scores(0.9, 512, PAIRS, seeded())
    assert infonce_estimate_bits(scores) == pytest.approx(gaussian_information_bits(0.9), abs=0.06)


@pytest.mark.parametrize("error", [0.0, 0.2, 0.7])
def test_neither_bound_exceeds_the_information_of_a_discrete_joint(error):
    joint = channel(16, error)
    information = joint_information_bits(joint)
    for candidates in (4, 256):
        scores = joint_scores(joint, candidates, PAIRS, seeded())
        assert infonce_estimate_bits(scores) <= min(information + sampling_error(scores), math.log2(candidates))
    symbols, log_probabilities = joint_symbols(joint, 20 * PAIRS, seeded())
    assert direct_estimate_bits(symbols, log_probabilities) == pytest.approx(information, abs=0.02)
    # Any other predictor reads less.
    mixed = (0.7 * log_probabilities.exp() + 0.3 / 16).log()
    assert direct_estimate_bits(symbols, mixed) < direct_estimate_bits(symbols, log_probabilities)


def test_cpc_saturates_where_the_direct_bound_passes_it_up_to_log_k():
    joint = channel(64, 0.0)
    assert joint_information_bits(joint) == pytest.approx(6)
    scores = joint_scores(joint, 8, PAIRS, seeded())
    assert 2.85 < infonce_estimate_bits(scores) <= 3
    direct = direct_estimate_bits(*joint_symbols(joint, 20 * PAIRS, seeded()))
    assert 5.98 < direct <= 6
    gaussian = gaussian_symbols(0.999999, 64, 20 * PAIRS, seeded())
    assert 5.8 < direct_estimate_bits(*gaussian) <= 6 < gaussian_information_bits(0.999999)
    assert 2.97 < infonce_estimate_bits(gaussian_scores(0.999999, 8, PAIRS, seeded())) <= 3


def test_without_information_a_wrong_marginal_reports_at_most_nothing():
    frequencies = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    symbols = torch.multinomial(frequencies, PAIRS, replacement=True, generator=seeded())
    stale = torch.tensor([0.1, 0.15, 0.25, 0.5], dtype=torch.float64)
    # The training loss, −ln P(z | x) + ln P̂(z), takes the stale P̂ at its word …
    trained = (frequencies.log()[symbols] - stale.log()[symbols]).mean()
    assert bits(float(trained)) > 0.64
    # … what is reported takes the entropy of the symbols themselves, whatever the predictor knows or not.
    for predictor in (frequencies, stale, torch.full((4,), 0.25, dtype=torch.float64)):
        assert direct_estimate_bits(symbols, predictor.log().expand(PAIRS, -1)) <= 1e-12
    assert float(entropy_bits(frequencies)) > 1.7


def test_a_collapsed_codebook_reports_nothing():
    assert infonce_estimate_bits(torch.full((100, 8), 3.0)) == pytest.approx(0)
    certain = torch.tensor([0.0, -700.0]).expand(100, 2)
    assert direct_estimate_bits(torch.zeros(100, dtype=torch.int64), certain) == 0
