import pytest
import torch

from speechunits.objectives.ctc import ctc, minimum_frames
from tests.reference.asr import ctc_negative_log_likelihood, fewest_frames

TARGETS = [[1], [1, 2], [1, 1], [2, 1, 2], [2, 2, 1]]


@pytest.mark.parametrize("tokens", TARGETS)
@pytest.mark.parametrize("frames", [3, 5])
def test_equals_brute_force(tokens, frames):
    logits = torch.randn(1, frames + 2, 3, generator=torch.Generator().manual_seed(frames))
    oracle = ctc_negative_log_likelihood(logits[0, :frames].double().log_softmax(-1).tolist(), tokens)
    loss = ctc(logits, torch.tensor([frames]), torch.tensor([tokens]), torch.tensor([len(tokens)]))
    if oracle == float("inf"):
        assert (loss.sum, loss.count) == (0, 0)
    else:
        assert loss.sum.item() == pytest.approx(oracle, rel=1e-5)
        assert loss.count == len(tokens)


def test_sums_over_rows_and_ignores_padding():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, generator=generator)
    frames, tokens, lengths = torch.tensor([6, 4, 5]), torch.tensor([[1, 2, 3], [1, 0, 0], [2, 2, 0]]), [3, 1, 2]
    together = ctc(logits, frames, tokens, torch.tensor(lengths))
    alone = [
        ctc(logits[i : i + 1, : frames[i]], frames[i : i + 1], tokens[i : i + 1, :n], torch.tensor([n]))
        for i, n in enumerate(lengths)
    ]
    assert together.sum.item() == pytest.approx(sum(loss.sum.item() for loss in alone), rel=1e-5)
    assert together.count == sum(lengths)
    other = logits.clone()
    other[1, 4:] = 9.0
    assert torch.equal(ctc(other, frames, tokens, torch.tensor(lengths)).sum, together.sum)


def test_row_without_alignment_adds_nothing():
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = ctc(logits, torch.tensor([3, 2]), torch.tensor([[1, 2], [1, 1]]), torch.tensor([2, 2]))
    assert loss.count == 2
    unaligned, rows = loss.metrics["unaligned"]
    assert (unaligned, rows) == (1, 2)
    loss.sum.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert (logits.grad[1] == 0).all()


def test_blank_share_counts_real_frames_only():
    logits = torch.zeros(1, 5, 2)
    logits[0, :3, 0] = 5.0
    logits[0, 3, 1] = 5.0
    loss = ctc(logits, torch.tensor([4]), torch.tensor([[1]]), torch.tensor([1]))
    blank, frames = loss.metrics["blank"]
    assert (blank, frames) == (3, 4)


def test_half_precision_logits_are_summed_in_fp32():
    logits = torch.randn(1, 400, 30, generator=torch.Generator().manual_seed(2)).bfloat16()
    tokens = torch.arange(1, 30)[None]
    args = torch.tensor([400]), tokens, torch.tensor([29])
    assert ctc(logits, *args).sum.dtype == torch.float32
    assert ctc(logits, *args).sum == ctc(logits.float(), *args).sum


@pytest.mark.parametrize("tokens", [*TARGETS, [1, 1, 1], [3, 3, 2, 2]])
def test_minimum_frames_equals_the_oracle(tokens):
    assert minimum_frames(torch.tensor([[*tokens, 0, 0]]), torch.tensor([len(tokens)])) == fewest_frames(tokens)
