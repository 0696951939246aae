import librosa
import numpy as np
import pytest
import torch
import torchaudio

from speechunits.features.mel import LogMel, mel_filters, mel_frame_counts
from tests.reference.features import log_mel


@pytest.fixture
def waveform():
    return torch.randn(3000, generator=torch.Generator().manual_seed(0)) * 0.1


def test_equals_the_loop(waveform):
    features, counts = LogMel(80)(waveform[None, :1200], torch.tensor([1200]))
    expected = log_mel(waveform[:1200].double().numpy(), 80)
    assert counts.tolist() == [len(expected)] == [6]
    np.testing.assert_allclose(features[0].numpy(), expected, atol=2e-3)


def test_equals_librosa(waveform):
    # librosa centres the window of 400 within the transform of 512: 56 zeros on the left move it to where ours starts.
    padded = np.pad(waveform.numpy(), (56, 56))
    energies = librosa.feature.melspectrogram(
        y=padded, sr=16000, n_fft=512, hop_length=160, win_length=400, window="hann", center=False, n_mels=80
    )
    features, _ = LogMel(80)(waveform[None], torch.tensor([3000]))
    np.testing.assert_allclose(features[0].numpy(), np.log(energies.T + 1e-9), atol=2e-3)


@pytest.mark.parametrize("bins", [40, 64, 80])
def test_no_filter_is_empty(bins):
    assert (mel_filters(bins).sum(dim=0) > 0).all()


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 559, 560, 719, 720, 16000])
def test_frame_counts(samples):
    features, counts = LogMel(80)(torch.zeros(2, samples), torch.tensor([samples, 0]))
    expected = 0 if samples < 400 else (samples - 400) // 160 + 1
    assert features.shape == (2, expected, 80)
    assert counts.tolist() == [expected, 0] == mel_frame_counts(torch.tensor([samples, 0])).tolist()


def test_fp32_under_autocast(waveform):
    model = LogMel(80)
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = model(waveform[None], torch.tensor([3000]))
    assert features.dtype == torch.float32
    assert torch.equal(features, model(waveform[None], torch.tensor([3000]))[0])


def test_has_neither_parameters_nor_state():
    assert not list(LogMel(80).parameters())
    assert not LogMel(80).state_dict()


@pytest.mark.parametrize("bins", [40, 80])
def test_filters_equal_torchaudio(bins):
    expected = torchaudio.functional.melscale_fbanks(257, 0.0, 8000.0, bins, 16000, norm="slaney", mel_scale="slaney")
    torch.testing.assert_close(mel_filters(bins), expected, atol=2e-7, rtol=0)
