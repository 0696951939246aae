import math

import pytest
import torch

from speechunits.frames import frames_mask
from speechunits.objectives.cpc import cpc_loss, sample_pool, step_pools
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
    return predictions, latents, counted, step_pools(counted, torch.arange(3), 2, 5, generator)


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


def test_negatives_of_a_step_can_be_so_far_ahead():
    counted, groups = frames_mask(torch.tensor([7, 3, 2]), 7), torch.tensor([0, 1, 1])
    counted[0, 4] = False
    pool = step_pools(counted, groups, 3, 4000, seeded())
    for row, step, expected in ((0, 1, [1, 2, 3, 5, 6]), (0, 3, [3, 5, 6]), (1, 1, [8, 9, 15]), (2, 2, [9])):
        places, counts = pool[row, step - 1].unique(return_counts=True)
        assert places.tolist() == expected
        assert counts / 4000 == pytest.approx(1 / len(expected), abs=0.03)


def test_no_information_reads_none_where_the_first_frames_are_known():
    """A context that says nothing, and latents that only say whether a frame is among the first: I = 0."""
    steps, size = 12, 40
    latents = torch.zeros(1, size, 4)
    latents[:, :steps, 0] = -40.0
    predictions = torch.zeros(1, size, steps, 4)
    predictions[..., 0] = 1.0
    counted = torch.ones(1, size, dtype=torch.bool)
    losses = []
    for seed in range(30):
        pool = step_pools(counted, torch.zeros(1, dtype=torch.int64), steps, 128, seeded(seed))
        loss = cpc_loss(predictions, latents, counted, pool, mask_same=False)
        losses.append([float(loss.metrics[f"loss_{step}"][0] / loss.metrics[f"loss_{step}"][1]) for step in (1, 6, 12)])
    bits = math.log2(129) - torch.tensor(losses).mean(dim=0) / math.log(2)
    assert (bits < 0.01).all()
    assert bits[2] == pytest.approx(0, abs=1e-5)
