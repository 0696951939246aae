import math

import pytest
import torch

from speechunits.frames import frames_mask
from speechunits.objectives.cpc import cpc_loss, sample_pool
from tests.reference import objectives as reference

LENGTHS = torch.tensor([6, 3, 0])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["all", "some"])
def problem(request):
    """Three rows of 6, 3 and 0 frames, two steps, five negatives, in double precision; all frames count, or some."""
    generator = seeded()
    predictions = torch.randn(3, 6, 2, 4, generator=generator, dtype=torch.float64)
    latents = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    counted = frames_mask(LENGTHS, 6)
    if request.param == "some":
        counted[0, [0, 3]] = counted[1, 1] = False
    return predictions, latents, counted, sample_pool(counted, torch.arange(3), 5, generator)


@pytest.mark.parametrize("mask_same", [False, True])
def test_equals_the_loop(problem, mask_same):
    predictions, latents, counted, pool = problem
    loss = cpc_loss(*problem, mask_same=mask_same)
    arguments = predictions.tolist(), latents.tolist(), counted.tolist(), pool.tolist()
    total, count = reference.cpc(*arguments, mask_same=mask_same)
    everything = bool(counted[0, 3])
    assert int(loss.count) == count == (5 + 4 + 2 + 1 if everything else 4 + 3 + 1 + 1)
    assert float(loss.sum) == pytest.approx(total)
    assert float(loss.metrics["loss"][0]) == pytest.approx(reference.cpc(*arguments, mask_same=False)[0])
    steps = [loss.metrics[f"loss_{step}"] for step in (1, 2)]
    assert [int(number) for _, number in steps] == ([7, 5] if everything else [5, 4])
    assert float(sum(total for total, _ in steps)) == pytest.approx(float(loss.metrics["loss"][0]))


def test_gradient(problem):
    predictions, latents, counted, pool = problem

    def total(predictions, latents):
        return cpc_loss(predictions, latents, counted, pool, mask_same=True).sum

    assert torch.autograd.gradcheck(total, (predictions.requires_grad_(), latents.requires_grad_()))


def test_equal_latents_read_chance(problem):
    predictions, latents, counted, pool = problem
    loss = cpc_loss(predictions, latents[:1, :1].expand_as(latents), counted, pool, mask_same=False)
    assert float(loss.sum / loss.count) == pytest.approx(math.log(6))
    assert int(loss.metrics["accuracy"][0]) == 0


def test_negatives_are_real_frames_of_the_group():
    counted, groups = frames_mask(torch.tensor([4, 2, 5, 0]), 5), torch.tensor([0, 1, 0, 3])
    counted[0, 1] = counted[1, 0] = False
    pool = sample_pool(counted, groups, 4000, seeded())
    shares = torch.stack([torch.bincount(row, minlength=20) for row in pool]) / 4000
    expected = torch.zeros(4, 4, 5)
    for row, others in ((0, (0, 2)), (1, (1,)), (2, (0, 2))):
        for other in others:
            expected[row, other, counted[other]] = 1 / int(counted[list(others)].sum())
    torch.testing.assert_close(shares[:3], expected.flatten(1)[:3], atol=0.03, rtol=0)
    again, other = (sample_pool(counted, groups, 4000, seeded(seed)) for seed in (0, 1))
    assert torch.equal(pool, again)
    assert not torch.equal(pool, other)
