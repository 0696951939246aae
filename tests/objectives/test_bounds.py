import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechunits.objectives.bounds import bits, direct_bits, entropy_bits, infonce_bits, perplexity
from tests.reference import objectives as reference


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any))
def test_entropy_equals_the_loop(counts):
    assert float(entropy_bits(torch.tensor(counts))) == pytest.approx(reference.entropy_bits(counts), abs=1e-9)


def test_entropy_by_groups_and_of_nothing():
    counts = torch.tensor([[4, 4, 4, 4], [9, 0, 0, 0], [0, 0, 0, 0]])
    assert entropy_bits(counts).tolist() == [2.0, 0.0, 0.0]
    assert perplexity(counts).tolist() == [4.0, 1.0, 1.0]


def test_bounds():
    assert infonce_bits(math.log(101), 101) == pytest.approx(0)
    assert infonce_bits(0.0, 128) == 7
    assert direct_bits(5.0, 3.5) == 1.5
    assert bits(math.log(8)) == pytest.approx(3)
