import torch

from speechunits.learners.targets import masked_places, non_silent, pad_rows, spoken_span


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


def test_the_spoken_span_reaches_from_the_first_loud_frame_to_the_last_with_a_margin():
    frames = 60
    waveforms = 1e-3 * torch.ones(4, 400 + 320 * (frames - 1))
    waveforms[:3, 320 * 20 : 320 * 40 + 400] = 0.1  # frames 20 to 40, heard in 19 and 41 too
    waveforms[:3, 320 * 28 : 320 * 32] = 0.0  # a pause within counts
    waveforms[1, 320 * 5 : 320 * 5 + 40] = 0.9  # a click is no measure of a voice: frame 4 hears it and 5, and no more
    lengths = torch.tensor([frames, frames, 30, frames])
    span = spoken_span(waveforms, lengths)
    expected = torch.zeros(4, frames, dtype=torch.bool)
    expected[0, 14:47] = expected[2, 14:30] = True
    expected[3] = True  # even noise: nobody knows
    assert torch.equal(span[[0, 2, 3]], expected[[0, 2, 3]])
    assert span[1, 20:41].all()
    # What lies beyond a row's length, and other rows, change nothing.
    waveforms[2, 400 + 320 * 29 :] = float("nan")
    assert torch.equal(spoken_span(waveforms[2:3], lengths[2:3]), span[2:3])
    assert not spoken_span(torch.zeros(1, 4000), torch.tensor([12])).any()
    assert spoken_span(torch.zeros(1, 300), torch.tensor([0])).shape == (1, 0)
