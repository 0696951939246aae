import math

import pytest
import torch

from speechunits.objectives.direct_mi import direct_mi_loss, updated_marginal
from tests.reference import objectives as reference


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    context, targets = (torch.randn(7, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    marginal = torch.rand(4, generator=generator, dtype=torch.float64)
    return context, targets, marginal / marginal.sum(), torch.ones(7, dtype=torch.bool)


def test_equals_the_loop(problem):
    loss = direct_mi_loss(*problem, gradient="expectation")
    context, targets, marginal, _ = problem
    assert float(loss.sum) == pytest.approx(reference.direct_mi(context.tolist(), targets.tolist(), marginal.tolist()))
    hard = direct_mi_loss(*problem, gradient="straight_through")
    told = context.log_softmax(1)[torch.arange(7), targets.argmax(1)]
    frequent = marginal.log()[targets.argmax(1)]
    assert float(hard.sum) == pytest.approx(float((frequent - told).sum()))
    for result in (loss, hard):
        assert float(result.metrics["loss"][0]) == pytest.approx(-float(told.sum()))
        assert int(result.count) == int(result.histograms["targets"].sum()) == 7
    each = direct_mi_loss(context, targets, marginal.expand(7, -1), problem[3], gradient="expectation")
    assert float(each.sum) == pytest.approx(float(loss.sum))


def test_gradient(problem):
    context, targets, marginal, speech = problem

    def total(context, targets):
        return direct_mi_loss(context, targets, marginal, speech, gradient="expectation").sum

    context.requires_grad_(), targets.requires_grad_()
    assert torch.autograd.gradcheck(total, (context, targets))
    # Straight through: the gradient of the context's side at the hard symbol, of the target's that of the expectation.
    hard, soft = (
        torch.autograd.grad(direct_mi_loss(*problem, gradient=kind).sum, (context, targets))
        for kind in ("straight_through", "expectation")
    )
    torch.testing.assert_close(hard[1], soft[1])
    symbol = torch.nn.functional.one_hot(targets.argmax(1), 4)
    torch.testing.assert_close(hard[0], (context.softmax(1) - symbol).detach())


def test_its_gradient_is_that_of_minus_the_information(problem):
    """With P̂ the mean of p(z | y), as the theorem has it: d/dθ of H(z | x) − H(z)."""
    context, targets, _, speech = problem
    targets.requires_grad_()
    chosen = targets.softmax(1)
    mean = chosen.mean(0)
    minus_information = -(chosen * context.log_softmax(1)).sum() + 7 * (mean * mean.log()).sum()
    (expected,) = torch.autograd.grad(minus_information, targets)
    loss = direct_mi_loss(context, targets, mean, speech, gradient="expectation")
    torch.testing.assert_close(torch.autograd.grad(loss.sum, targets)[0], expected)
    assert float(loss.sum.detach()) == pytest.approx(float(minus_information.detach()))


def test_a_marginal_of_zero_stays_finite(problem):
    context, targets, _, speech = problem
    loss = direct_mi_loss(context, targets, torch.tensor([1.0, 0, 0, 0]), speech, gradient="expectation")
    assert loss.sum.isfinite()


def test_marginals_move_where_there_are_frames():
    before = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    after = updated_marginal(before, torch.tensor([[3.0, 1.0], [0.0, 0.0]]), decay=0.9)
    torch.testing.assert_close(after, torch.tensor([[0.525, 0.475], [0.2, 0.8]]))


def test_one_symbol_for_all_reads_nothing():
    targets = torch.tensor([[5.0, 0.0]]).expand(6, 2)
    loss = direct_mi_loss(
        torch.zeros(6, 2), targets, torch.tensor([1.0, 0.0]), torch.ones(6).bool(), gradient="expectation"
    )
    counts = loss.histograms["targets"][0].double()
    entropy = -torch.special.xlogy(counts / 6, counts / 6).sum()
    assert float(entropy - loss.metrics["loss"][0] / 6) == pytest.approx(-math.log(2))
