import librosa
import numpy as np
import pytest
import torch

from speechunits.features.mfcc import mfcc
from speechunits.frames import frame_count


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 719, 720, 1039, 1040, 16000, 32080])
def test_has_exactly_the_frames_of_the_project(samples):
    features = mfcc(torch.randn(samples, generator=torch.Generator().manual_seed(samples)))
    assert features.shape == (frame_count(samples), 39)
    assert features.isfinite().all()


def test_equals_librosa():
    waveform = torch.randn(16000, generator=torch.Generator().manual_seed(1)) * 0.1
    energies = librosa.feature.melspectrogram(
        y=np.pad(waveform.numpy(), (56, 56)),
        sr=16000,
        n_fft=512,
        hop_length=160,
        win_length=400,
        center=False,
        n_mels=40,
    )
    cepstra = librosa.feature.mfcc(S=np.log(energies + 1e-9), n_mfcc=13, dct_type=2, norm="ortho")
    slopes = librosa.feature.delta(cepstra, width=5, mode="nearest")
    curves = librosa.feature.delta(slopes, width=5, mode="nearest")
    stacked = np.concatenate([cepstra, slopes, curves]).T[::2]
    expected = (stacked - stacked.mean(axis=0)) / stacked.std(axis=0)
    np.testing.assert_allclose(mfcc(waveform).numpy(), expected, atol=5e-3)


def test_every_window_is_normalised():
    features = mfcc(torch.randn(16000, generator=torch.Generator().manual_seed(2)) * 0.03)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(39), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(dim=0, unbiased=False), torch.ones(39), atol=1e-3, rtol=0)


def test_silence_is_finite_and_repeatable():
    assert mfcc(torch.zeros(8000)).abs().max() < 1e-5
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mfcc(waveform), mfcc(waveform))
