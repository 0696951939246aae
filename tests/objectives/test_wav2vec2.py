import math

import pytest
import torch

from speechunits.objectives.bounds import infonce_bits, joint_information_bits
from speechunits.objectives.wav2vec2 import contrastive_loss, diversity_loss, feature_penalty, sample_negatives
from tests.reference import objectives as reference

COUNTS = [5, 3, 0]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def problem():
    """Three utterances with 5, 3 and 0 masked frames, 4 negatives, codes of 3 symbols, in double precision."""
    generator = seeded()
    context, targets = (torch.randn(3, 5, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    codes = torch.randint(0, 3, (3, 5), generator=generator)
    counts = torch.tensor(COUNTS)
    negatives = sample_negatives(counts, 5, 4, generator)
    same = torch.gather(codes[:, None, :].expand(-1, 5, -1), 2, negatives) == codes[..., None]
    valid = torch.arange(5)[None, :] < counts[:, None]
    return context, targets, negatives, valid, codes, same


def oracle(problem, *, mask_same):
    context, targets, negatives, _, codes, _ = problem
    return sum(
        reference.contrastive(
            context[row, :count].tolist(),
            targets[row, :count].tolist(),
            negatives[row, :count].tolist(),
            codes[row].tolist(),
            0.1,
            mask_same=mask_same,
        )
        for row, count in enumerate(COUNTS)
    )


@pytest.mark.parametrize("mask_same", [False, True])
def test_equals_the_loop(problem, mask_same):
    context, targets, negatives, valid, _, same = problem
    loss = contrastive_loss(context, targets, negatives, valid, temperature=0.1, same=same, mask_same=mask_same)
    assert int(loss.count) == 8
    assert float(loss.sum) == pytest.approx(oracle(problem, mask_same=mask_same))
    # The reported loss keeps duplicates in both cases.
    assert float(loss.metrics["loss"][0]) == pytest.approx(oracle(problem, mask_same=False))
    share = loss.metrics["negative_is_positive"]
    assert float(share[0] / share[1]) == pytest.approx(float(same[valid].double().mean()))


@pytest.mark.parametrize("mask_same", [False, True])
def test_gradient(problem, mask_same):
    context, targets, negatives, valid, _, same = problem

    def total(context, targets):
        return contrastive_loss(context, targets, negatives, valid, temperature=0.1, same=same, mask_same=mask_same).sum

    assert torch.autograd.gradcheck(total, (context.requires_grad_(), targets.requires_grad_()))


def test_a_collapsed_codebook_reads_chance(problem):
    context, targets, negatives, valid, _, same = problem
    equal = targets[:1, :1].expand_as(targets)
    for mask_same in (False, True):
        loss = contrastive_loss(
            context, equal, negatives, valid, temperature=0.1, same=torch.ones_like(same), mask_same=mask_same
        )
        total, count = loss.metrics["loss"]
        assert float(total / count) == pytest.approx(math.log(5))
        assert float(loss.metrics["accuracy"][0]) == 0
        # What training sees of it is why the report must not.
        assert float(loss.sum / count) == pytest.approx(0.0 if mask_same else math.log(5))


def test_a_perfect_context_reads_almost_all(problem):
    _, targets, negatives, valid, _, _ = problem
    loss = contrastive_loss(
        targets,
        targets,
        negatives,
        valid,
        temperature=0.01,
        same=torch.zeros_like(negatives, dtype=torch.bool),
        mask_same=False,
    )
    assert float(loss.sum) < 0.01
    assert int(loss.metrics["accuracy"][0]) == 8


def test_half_precision_computes_in_fp32(problem):
    context, targets, negatives, valid, _, same = problem
    arguments = {"temperature": 0.1, "same": same, "mask_same": False}
    rounded = context.bfloat16(), targets.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(*rounded, negatives, valid, **arguments)
    assert loss.sum.dtype == torch.float32
    expected = contrastive_loss(rounded[0].double(), rounded[1].double(), negatives, valid, **arguments)
    assert float(loss.sum) == pytest.approx(float(expected.sum), rel=1e-5)


def test_negatives_are_uniform_over_the_other_masked_frames():
    negatives = sample_negatives(torch.tensor([6, 2]), 6, 3000, seeded())
    for frame in range(6):
        shares = torch.bincount(negatives[0, frame], minlength=6) / 3000
        assert shares[frame] == 0
        others = shares[torch.arange(6) != frame]
        torch.testing.assert_close(others, torch.full((5,), 0.2), atol=0.03, rtol=0)
    assert (negatives[1, 0] == 1).all()
    assert (negatives[1, 1] == 0).all()


@pytest.mark.parametrize("frames", [2, 40])
@pytest.mark.parametrize("error", [0.0, 0.3])
def test_what_is_reported_never_exceeds_the_information(frames, error):
    """Each frame has a code of its own; the context names it, or with probability ``error`` any frame, at random."""
    rows, generator = 4000 // frames, seeded(frames)
    joint = (1 - error) * torch.eye(frames) + error / frames
    information = joint_information_bits(joint)
    named = torch.multinomial(joint, rows, replacement=True, generator=generator).T
    context, targets = torch.eye(frames)[named], torch.eye(frames).expand(rows, -1, -1)
    valid = torch.ones(rows, frames, dtype=torch.bool)
    reported = {}
    for itself in (False, True):
        negatives = sample_negatives(valid.sum(1), frames, 100, generator, itself=itself)
        best = -math.inf
        for temperature in (0.06, 0.1, 0.2, 0.3, 0.5, 1.0):
            loss = contrastive_loss(
                context, targets, negatives, valid, temperature=temperature, same=negatives < 0, mask_same=False
            )
            total, count = loss.metrics["loss"]
            best = max(best, infonce_bits(float(total / count), 101))
        reported[itself] = best
    assert reported[True] <= information + 0.05
    assert reported[True] > 0.8 * information
    assert reported[False] > information + (0.5 if frames == 2 else 0.02)


def test_the_frame_itself_is_no_error_and_no_duplicate():
    targets, valid = torch.eye(3)[None], torch.ones(1, 3, dtype=torch.bool)
    negatives = sample_negatives(valid.sum(1), 3, 3000, seeded(), itself=True)
    torch.testing.assert_close(torch.bincount(negatives[0, 1]) / 3000, torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    same = negatives == torch.arange(3)[:, None]
    loss = contrastive_loss(targets, targets, negatives, valid, temperature=0.1, same=same, mask_same=False)
    assert int(loss.metrics["accuracy"][0]) == 3
    assert int(loss.metrics["negative_is_positive"][0]) == 0
    assert int(loss.metrics["negative_is_positive"][1]) == int((~same).sum())


def test_negatives_are_seeded_and_always_indices():
    counts = torch.tensor([0, 1, 7])
    first, again, other = (sample_negatives(counts, 7, 5, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 6
    assert sample_negatives(torch.tensor([0]), 0, 5, seeded()).shape == (1, 0, 5)


def test_no_masked_frame_is_no_loss():
    empty = torch.zeros(2, 0, 6, requires_grad=True)
    index = torch.zeros(2, 0, 4, dtype=torch.int64)
    loss = contrastive_loss(
        empty, empty, index, torch.zeros(2, 0, dtype=torch.bool), temperature=0.1, same=index == 1, mask_same=True
    )
    loss.sum.backward()
    assert float(loss.sum.detach()) == 0
    assert int(loss.count) == 0


def test_diversity_equals_the_loop_and_has_its_gradient():
    scores = torch.randn(7, 2, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    probabilities = scores.softmax(dim=-1)
    assert float(diversity_loss(probabilities).detach()) == pytest.approx(
        reference.diversity(probabilities.tolist()), abs=1e-5
    )
    assert torch.autograd.gradcheck(lambda scores: diversity_loss(scores.softmax(dim=-1)), scores)


def test_diversity_ends():
    assert float(diversity_loss(torch.full((3, 2, 8), 1 / 8))) == pytest.approx(0, abs=1e-5)
    one_entry = torch.nn.functional.one_hot(torch.zeros(3, 2, dtype=torch.int64), 8).float()
    assert float(diversity_loss(one_entry)) == pytest.approx(1 - 1 / 8, abs=1e-5)
    assert diversity_loss(torch.zeros(0, 2, 8)).isfinite()


def test_feature_penalty_is_a_mean_over_real_frames():
    squares = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    assert float(feature_penalty(squares, torch.tensor([2, 1]))) == 2
    assert float(feature_penalty(squares[:, :0], torch.tensor([0, 0]))) == 0
