"""The recurrent model reaches the entropy rate of sources whose rate is known, and never beats it."""

import numpy as np
import pytest
import torch

from speechunits.errors import UsageError
from speechunits.evaluation.language_model import UnitLanguageModel, bits_a_unit, fit_language_model
from tests.reference.text import entropy_rate


def chain(rng, table, count):
    units = [int(rng.integers(len(table)))]
    for _ in range(count - 1):
        units.append(int(rng.choice(len(table), p=table[units[-1]])))
    return np.array(units)


def test_a_markov_chain_costs_its_entropy_rate():
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(6, 0.3), 6)
    train, held = ([chain(rng, table, 200) for _ in range(count)] for count in (40, 20))
    bits = bits_a_unit(fit_language_model(train, 6, steps=120), held)
    assert entropy_rate(table) - 0.05 < bits < entropy_rate(table) + 0.12


def test_what_lies_far_back_is_remembered():
    rng = np.random.default_rng(1)
    # The first unit says which of two alphabets follows: an n-gram has forgotten it, but sees the alphabet.
    rows = [np.concatenate([[first], 2 + 4 * first + rng.integers(0, 4, 40)]) for first in rng.integers(0, 2, 200)]
    bits = bits_a_unit(fit_language_model(rows[:150], 10, steps=120), rows[150:])
    assert bits == pytest.approx((1 + 40 * 2) / 41, abs=0.12)


def test_an_untrained_model_knows_next_to_nothing_and_equal_seeds_are_equal():
    rows = [np.arange(30) % 5]
    assert bits_a_unit(fit_language_model(rows, 5, steps=0), rows) == pytest.approx(np.log2(5), abs=0.3)
    state = torch.get_rng_state()
    first, again = (fit_language_model(rows, 5, steps=3, seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))


def test_padding_changes_nothing():
    model = UnitLanguageModel(5)
    row = torch.arange(7)[None] % 5
    padded = torch.cat([row, torch.full((1, 4), 2)], dim=1)
    torch.testing.assert_close(model(padded)[:, :7], model(row))


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(UsageError, match="needs units"):
        fit_language_model([np.zeros(0, np.int64)], 3)
    with pytest.raises(UsageError, match="held-out units"):
        bits_a_unit(UnitLanguageModel(3), [])
