import pytest
import torch
import torch.nn.functional as F

from speechunits.objectives.codebook import Codebook, cluster_sums, codeword_loss, nearest, updated_codebook
from tests.reference import objectives as reference


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_step_equals_the_loop():
    codebook = Codebook(
        torch.randn(6, 3, generator=seeded(), dtype=torch.float64), torch.tensor([1.0, 2, 1, 3, 1, 1]).double()
    )
    features = torch.randn(9, 3, generator=seeded(1), dtype=torch.float64)
    codes = nearest(features, codebook.codewords)
    after = updated_codebook(codebook, cluster_sums(features, codes, 6), decay=0.9)
    expected = reference.codebook_step(codebook.sums.tolist(), codebook.counts.tolist(), features.tolist(), 0.9)
    assert codes.tolist() == expected[0]
    torch.testing.assert_close(after.sums, torch.tensor(expected[1], dtype=torch.float64))
    torch.testing.assert_close(after.counts, torch.tensor(expected[2], dtype=torch.float64))
    missed = sorted(set(range(6)) - set(codes.tolist()))
    assert missed
    assert torch.equal(after.codewords[missed], codebook.codewords[missed])


def test_codewords_find_the_clusters():
    centers = torch.tensor([[0.0, 4.0], [4.0, 0.0], [-4.0, -4.0]])
    codebook = Codebook(torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]]), torch.ones(3))
    for step in range(60):
        features = centers.repeat(20, 1) + 0.1 * torch.randn(60, 2, generator=seeded(step))
        codebook = updated_codebook(
            codebook, cluster_sums(features, nearest(features, codebook.codewords), 3), decay=0.9
        )
    torch.testing.assert_close(codebook.codewords, centers, atol=0.05, rtol=0)


def test_what_is_not_finite_leaves_a_codeword_as_it_was():
    codebook = Codebook(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.ones(2))
    features = torch.tensor([[0.0, 3.0], [float("nan"), 0.0], [5.0, 0.0]])
    after = updated_codebook(codebook, cluster_sums(features, torch.tensor([0, 0, 1]), 2), decay=0.5)
    assert torch.equal(after.codewords[0], codebook.codewords[0])
    torch.testing.assert_close(after.codewords[1], torch.tensor([3.0, 0.0]))


def test_ranks_add_up():
    features = torch.randn(8, 3, generator=seeded(), dtype=torch.float64)
    codes = torch.tensor([0, 1, 0, 2, 2, 2, 1, 0])
    whole, left, right = (cluster_sums(features[part], codes[part], 4) for part in (slice(None), slice(3), slice(3, 8)))
    torch.testing.assert_close(left.sums + right.sums, whole.sums)
    torch.testing.assert_close(left.counts + right.counts, whole.counts)


def test_loss_equals_the_loop_and_has_its_gradient():
    logits = torch.randn(5, 2, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    codes = torch.randint(0, 4, (5, 2), generator=seeded(1))
    speech = torch.tensor([True, True, False, True, False])
    loss = codeword_loss(logits, codes, speech)
    total = 0.0
    for frame in range(5):
        for group in range(2):
            scores = logits[frame, group].tolist()
            total += reference.log_sum_exp(scores) - scores[codes[frame, group]]
    assert float(loss.sum.detach()) == pytest.approx(total)
    assert int(loss.count) == 10
    assert torch.equal(loss.histograms["targets"], F.one_hot(codes, 4).sum(0))
    assert torch.equal(loss.histograms["speech"], F.one_hot(codes[speech], 4).sum(0))
    assert torch.autograd.gradcheck(lambda logits: codeword_loss(logits, codes, speech).sum, logits)
