import torch

from speechunits.learners.targets import masked_places, non_silent, pad_rows


def test_masked_places_in_order():
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    places, valid = masked_places(mask)
    assert valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert places[0].tolist() == [1, 2, 4]
    assert places[1, 0] == 3
    rows = torch.arange(5.0)[None, :].expand(3, -1)[mask][:, None].requires_grad_()
    padded = pad_rows(rows, valid)
    assert padded[..., 0].tolist() == [[1, 2, 4], [3, 0, 0], [0, 0, 0]]
    padded.sum().backward()
    assert (rows.grad == 1).all()


def test_nothing_masked():
    places, valid = masked_places(torch.zeros(2, 0, dtype=torch.bool))
    assert places.shape == valid.shape == (2, 0)


def test_non_silent_is_relative_to_the_loudest_real_frame():
    waveforms = torch.zeros(2, 1040)
    waveforms[:, :400] = 0.1
    waveforms[0, 640:] = 0.1 * 10 ** (-50 / 20)
    waveforms[1, 640:] = 0.1 * 10 ** (-30 / 20)
    assert non_silent(waveforms, torch.tensor([3, 3])).tolist() == [[True, True, False], [True, True, True]]
    assert non_silent(waveforms, torch.tensor([1, 0])).tolist() == [[True, False, False], [False] * 3]
    assert not non_silent(torch.zeros(1, 1040), torch.tensor([3])).any()
    assert non_silent(torch.zeros(1, 300), torch.tensor([0])).shape == (1, 0)
