import pytest
import torch

from speechunits.objectives.masked_prediction import masked_prediction_loss
from tests.reference import objectives as reference


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (9,), generator=generator)
    return context, embeddings, targets, torch.arange(9) < 5


def test_equals_the_loop(problem):
    context, embeddings, targets, speech = problem
    loss = masked_prediction_loss(context, embeddings, targets, speech, temperature=0.1)
    expected = reference.masked_prediction(context.tolist(), embeddings.tolist(), targets.tolist(), 0.1)
    assert float(loss.sum) == pytest.approx(expected)
    assert int(loss.count) == 9
    best = [
        max(range(4), key=lambda unit, frame=frame: reference.cosine(frame, embeddings[unit].tolist()))
        for frame in context.tolist()
    ]
    assert int(loss.metrics["accuracy"][0]) == sum(a == b for a, b in zip(best, targets.tolist(), strict=True))
    for name, symbols in (("targets", targets.tolist()), ("predictions", best), ("speech", best[:5])):
        assert loss.histograms[name].tolist() == [[symbols.count(unit) for unit in range(4)]]


def test_gradient(problem):
    context, embeddings, targets, speech = problem
    assert torch.autograd.gradcheck(
        lambda context, embeddings: masked_prediction_loss(context, embeddings, targets, speech, temperature=0.1).sum,
        (context.requires_grad_(), embeddings.requires_grad_()),
    )


def test_no_frame_is_no_loss():
    context = torch.zeros(0, 6, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = masked_prediction_loss(context, torch.randn(4, 6), none, none == 1, temperature=0.1)
    loss.sum.backward()
    assert float(loss.sum.detach()) == 0
    assert int(loss.count) == 0
    assert loss.histograms["targets"].sum() == 0


def test_half_precision_computes_in_fp32(problem):
    context, embeddings, targets, speech = problem
    with torch.autocast("cpu", torch.bfloat16):
        loss = masked_prediction_loss(context.bfloat16(), embeddings.bfloat16(), targets, speech, temperature=0.1)
    expected = masked_prediction_loss(
        context.bfloat16().double(), embeddings.bfloat16().double(), targets, speech, temperature=0.1
    )
    assert loss.sum.dtype == torch.float32
    assert float(loss.sum) == pytest.approx(float(expected.sum), rel=1e-5)
