import math

import pytest
import torch

from speechunits.objectives.swav import sinkhorn, swapped_prediction_loss
from tests.reference import objectives as reference


def scores(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_equals_the_loop(iterations):
    expected = reference.sinkhorn(scores(9, 4).tolist(), 0.05, iterations)
    result = sinkhorn(scores(9, 4), epsilon=0.05, iterations=iterations)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


def test_assignments_use_all_prototypes_alike():
    leaning = scores(400, 8) * 0.2
    leaning[:, 0] += 0.5
    balanced = sinkhorn(leaning, epsilon=0.05, iterations=30)
    torch.testing.assert_close(balanced.sum(dim=1), torch.ones(400, dtype=torch.float64))
    torch.testing.assert_close(balanced.sum(dim=0), torch.full((8,), 50.0, dtype=torch.float64), rtol=0.02, atol=0)
    assert (leaning.argmax(dim=1) == 0).double().mean() > 0.9


def test_sinkhorn_is_finite_in_half_precision_and_computes_in_fp32():
    extreme = (scores(50, 8) * 1.0).half()
    with torch.autocast("cpu", torch.bfloat16):
        result = sinkhorn(extreme, epsilon=0.01, iterations=3)
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert sinkhorn(extreme[:0], epsilon=0.05, iterations=3).shape == (0, 8)


@pytest.fixture
def problem():
    first, second = scores(6, 5), scores(6, 5, seed=1)
    codes = [sinkhorn(view, epsilon=0.05, iterations=3) for view in (first, second)]
    return first, second, *codes


def test_loss_equals_the_loop(problem):
    speech = torch.tensor([True, False, True, True, True, True])
    loss = swapped_prediction_loss(*problem, temperature=0.1, speech=speech)
    assert float(loss.sum) == pytest.approx(reference.swapped(*(part.tolist() for part in problem), 0.1))
    assert int(loss.count) == 12
    hard = [torch.nn.functional.one_hot(view.argmax(1), 5).double().tolist() for view in problem[:2]]
    expected = reference.swapped(problem[0].tolist(), problem[1].tolist(), *hard, 0.1)
    assert float(loss.metrics["loss"][0]) == pytest.approx(expected)
    both = torch.cat([view.argmax(1) for view in problem[:2]])
    assert loss.histograms["targets"].tolist() == [torch.bincount(both, minlength=5).tolist()]
    assert int(loss.histograms["speech"].sum()) == 10


def test_gradient(problem):
    first, second, *codes = problem

    def total(first, second):
        return swapped_prediction_loss(first, second, *codes, temperature=0.3, speech=torch.ones(6).bool()).sum

    assert torch.autograd.gradcheck(total, (first.requires_grad_(), second.requires_grad_()))


def test_even_scores_read_chance():
    even = torch.zeros(6, 5)
    loss = swapped_prediction_loss(even, even, even + 0.2, even + 0.2, temperature=0.1, speech=torch.ones(6).bool())
    assert float(loss.sum / loss.count) == pytest.approx(math.log(5))
