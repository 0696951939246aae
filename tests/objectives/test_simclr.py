import math

import pytest
import torch

from speechunits.objectives.simclr import nt_xent_loss
from tests.reference import objectives as reference


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("groups", [[0] * 7, [0, 1, 0, 1, 1, 2, 0]])
def test_equals_the_loop(views, groups):
    loss = nt_xent_loss(*views, temperature=0.2, groups=torch.tensor(groups))
    first, second = (view.tolist() for view in views)
    assert float(loss.sum) == pytest.approx(reference.nt_xent(first, second, groups, 0.2))
    assert int(loss.count) == 14
    chance, reported = 0.0, 0.0
    for one, other in ((first, second), (second, first)):
        for anchor, vector in enumerate(one):
            scores = {
                place: reference.cosine(vector, candidate) / 0.2
                for place, candidate in enumerate(other)
                if groups[place] == groups[anchor]
            }
            reported += reference.log_sum_exp(list(scores.values())) - scores[anchor]
            chance += math.log(len(scores))
    assert float(loss.metrics["loss"][0]) == pytest.approx(reported)
    assert float(loss.metrics["chance"][0]) == pytest.approx(chance)


def test_gradient(views):
    def total(first, second):
        return nt_xent_loss(first, second, temperature=0.5, groups=torch.tensor([0, 0, 1, 1, 1, 2, 0])).sum

    assert torch.autograd.gradcheck(total, tuple(view.requires_grad_() for view in views))


def test_equal_vectors_read_chance_and_equal_views_almost_nothing(views):
    constant = torch.ones(7, 5)
    loss = nt_xent_loss(constant, constant, temperature=0.1)
    assert float(loss.metrics["loss"][0] / 14) == pytest.approx(math.log(7), rel=1e-5)
    assert int(loss.metrics["accuracy"][0]) == 0
    perfect = nt_xent_loss(views[0], views[0], temperature=0.01)
    assert float(perfect.metrics["loss"][0]) < 0.01
    assert int(perfect.metrics["accuracy"][0]) == 14


def test_no_pair_is_no_loss():
    empty = torch.zeros(0, 5, requires_grad=True)
    loss = nt_xent_loss(empty, empty, temperature=0.1)
    loss.sum.backward()
    assert (float(loss.sum.detach()), int(loss.count)) == (0, 0)
