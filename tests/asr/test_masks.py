import torch

from speechunits.asr.masks import augment_masks, span_mask
from speechunits.config import AugmentConfig


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_masks_stay_within_rows_and_widths():
    lengths = torch.tensor([100, 40, 3, 0])
    mask = span_mask(lengths, 100, spans=2, widest=20, generator=generator())
    assert mask.shape == (4, 100)
    assert mask.any()
    for row, length in enumerate(lengths.tolist()):
        assert not mask[row, length:].any()
        assert mask[row].sum() <= min(40, length)
    many = span_mask(torch.full((500,), 60), 60, spans=1, widest=10, generator=generator())
    assert many.sum(dim=1).max() == 10
    assert many.sum(dim=1).min() == 0
    assert many.any(dim=0).all()


def test_masks_are_a_function_of_the_seed():
    lengths = torch.tensor([90, 50])
    first = augment_masks(AugmentConfig(), lengths, 90, 80, seed=3)
    torch.manual_seed(1)
    again = augment_masks(AugmentConfig(), lengths, 90, 80, seed=3)
    other = augment_masks(AugmentConfig(), lengths, 90, 80, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_masks_where_none_are_asked_for():
    time, channel = augment_masks(AugmentConfig(time_masks=0, channel_masks=0), torch.tensor([90]), 90, 80, seed=0)
    assert not time.any()
    assert not channel.any()
