import pytest
import torch

from speechunits.asr.span import cropped, cropped_mel, first_frames, placed, spoken_span
from speechunits.audio.sampler import padded_samples
from speechunits.features.mel import LogMel
from speechunits.frames import frame_counts, frames_mask


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


def test_cropping_keeps_what_the_frames_of_the_span_read():
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(3, 16000, generator=generator)
    span = torch.zeros(3, 49, dtype=torch.bool)
    span[0, 3:9] = span[1, :49] = True
    kept, lengths = cropped(waveforms, span)
    assert lengths.tolist() == [5 * 320 + 400, 48 * 320 + 400, 0]
    assert first_frames(span).tolist() == [3, 0, 0]
    assert torch.equal(kept[0, :2000], waveforms[0, 960:2960])
    assert torch.equal(kept[1, :15760], waveforms[1, :15760])
    assert not kept[0, 2000:].any()
    assert not kept[2].any()
    assert frame_counts(lengths).tolist() == span.sum(dim=1).tolist()
    # As short as the longest span allows, among the lengths that batches have.
    assert cropped(waveforms[:1], span[:1])[0].shape[1] == padded_samples(2000)


def test_log_mel_is_cropped_alike():
    waveforms = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(2))
    span = torch.zeros(3, 49, dtype=torch.bool)
    span[0, 3:30] = span[1, :49] = True
    mel = LogMel(80)
    kept, lengths = cropped(waveforms, span)
    expected, counts = mel(kept, lengths)
    found = cropped_mel(mel(waveforms, torch.full((3,), 16000))[0], span, kept.shape[1])
    real = frames_mask(counts, expected.shape[1])[..., None]
    assert torch.equal(found, expected.masked_fill(~real, 0.0))
    assert counts.tolist() == [53, 97, 0]


def test_logits_return_to_their_frames_and_the_blank_is_certain_elsewhere():
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    span = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    found = placed(logits, span)
    assert torch.equal(found[0, 2:5], logits[0, :3])
    certain = found.softmax(dim=-1)[~span]
    assert torch.equal(certain, torch.tensor([1.0, 0.0, 0.0]).expand(9, 3))
    assert placed(logits.bfloat16(), span).isfinite().all()


@pytest.mark.parametrize("samples", [1, 399, 400])
def test_the_shortest_recordings_pass(samples):
    waveforms = torch.ones(1, samples)
    span = spoken_span(waveforms, frame_counts(torch.tensor([samples])))
    kept, lengths = cropped(waveforms, span)
    assert lengths.tolist() == ([400] if samples == 400 else [0])
    assert placed(torch.zeros(1, 0, 5), span[:, :0]).shape == (1, 0, 5)
    assert kept.shape[1] >= 1
