import pytest
import torch

from speechunits.config import MaskConfig
from speechunits.encoder.masking import span_mask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def runs(row):
    """Lengths of the runs of true values."""
    text = "".join("x" if value else " " for value in row.tolist())
    return [len(run) for run in text.split()]


@pytest.mark.parametrize("length", [100, 500, 999])
def test_about_49_percent_are_masked(length):
    mask = span_mask(torch.full((400,), length), length, MaskConfig(), generator())
    assert 0.46 <= float(mask.float().mean()) <= 0.51


def test_spans_are_whole_and_within_real_frames():
    lengths = torch.tensor([200, 10, 9, 0, 25, 11] * 20)
    mask = span_mask(lengths, 200, MaskConfig(), generator())
    for row, length in zip(mask, lengths.tolist(), strict=True):
        assert not row[length:].any()
        assert all(run >= 10 for run in runs(row))
        assert bool(row.any()) == (length >= 10)
    assert mask[1].sum() == 10


def test_at_least_min_spans_where_long_enough():
    mask = span_mask(torch.full((200,), 30), 30, MaskConfig(start_prob=0.0, span=5, min_spans=2), generator())
    # Distinct starts: two spans cover at least one frame more than one span does.
    assert (mask.sum(dim=1) >= 6).all()
    assert (mask.sum(dim=1) == 10).any()


def test_every_frame_is_masked_sometimes_and_inner_ones_equally_often():
    share = span_mask(torch.full((3000,), 100), 100, MaskConfig(), generator()).float().mean(dim=0)
    assert share.min() > 0
    assert (share[10:90] - share[10:90].mean()).abs().max() < 0.06


def test_seed_decides():
    lengths = torch.tensor([200, 150])
    first, again, other = (span_mask(lengths, 200, MaskConfig(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("batch", "size"), [(0, 5), (2, 0)])
def test_nothing_to_mask(batch, size):
    assert span_mask(torch.zeros(batch, dtype=torch.int64), size, MaskConfig(), generator()).shape == (batch, size)
