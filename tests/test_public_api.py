"""The package as a library: two functions, and an import that costs nothing."""

import doctest
import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import speechunits
from speechunits.audio.load import load_waveform
from speechunits.errors import InputRefused
from speechunits.units.bundle import write_bundle
from speechunits.units.transcribe import transcribe
from tests.asr.tiny import recognizer


@pytest.fixture
def recording(tiny_corpus):
    return min((tiny_corpus / "audio").rglob("*.flac"))


def test_importing_is_light():
    code = (
        "import sys, speechunits; speechunits.load, speechunits.load_recognizer, speechunits.__version__\n"
        "heavy = {'torch', 'numpy', 'fairseq2', 'librosa', 'faiss', 'sentencepiece', 'soundfile', 'yaml', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_promised_is_there():
    assert sorted(speechunits.__all__) == ["__version__", "load", "load_recognizer"]
    assert all(hasattr(speechunits, name) for name in speechunits.__all__)


def test_the_documented_example_runs(tiny_runs, tmp_path, monkeypatch):
    tensors, header = recognizer("logmel").export()
    write_bundle(tmp_path / "asr.safetensors", tensors, header)
    (tmp_path / "units.safetensors").write_bytes((tiny_runs / "tiny" / "units.safetensors").read_bytes())
    soundfile.write(tmp_path / "take.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(speechunits)
    assert found.failed == 0
    assert found.attempted >= 8


def test_units_of_a_waveform_and_of_a_file(tiny_runs, recording):
    inventory = speechunits.load(str(tiny_runs / "tiny" / "units.safetensors"))
    waveform = load_waveform(recording)
    found = inventory.units(waveform, 16_000)
    assert found.shape == ((len(waveform) - 400) // 320 + 1,)
    assert set(found.tolist()) <= set(range(12))
    transcript = inventory.transcribe(recording)
    assert transcript.id == recording.stem
    assert transcript.duration_s == len(waveform) / 16_000
    assert np.array_equal(transcript.units, found)
    assert np.array_equal(inventory.transcribe(str(recording)).units, found)
    stream = io.StringIO()
    transcribe([recording], inventory, frames=True, stream=stream)
    assert [int(word) for word in stream.getvalue().split("\t")[1].split()] == found.tolist()


def test_a_segment_of_a_file(tiny_runs, recording):
    inventory = speechunits.load(tiny_runs / "tiny" / "units.safetensors")
    part = inventory.transcribe(recording, start_s=0.5, end_s=1.0, name="part")
    assert (part.id, part.duration_s, len(part.units)) == ("part", 0.5, 24)
    assert np.array_equal(part.units, inventory.units(load_waveform(recording)[8_000:16_000]))


def test_other_rates_are_resampled(tiny_runs):
    inventory = speechunits.load(tiny_runs / "tiny" / "units.safetensors")
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    assert len(inventory.units(noise, 48_000)) == len(inventory.units(noise[:16_000], 16_000)) == 49


@pytest.mark.parametrize(
    ("waveform", "said"),
    [
        (np.zeros((2, 8_000), np.float32), r"\(T,\) mono samples, but has shape \(2, 8000\)"),
        (np.array([0.0, np.nan] * 1_000), "holds NaN or infinite"),
        (np.full(8_000, 300, np.int16), r"floats within \[-1, 1\], but holds int16; divide it by its full scale"),
        ([[0.1], [0.1, 0.2]], "an array of floats, but this cannot be made one"),
        ("take.wav", "an array of floats, but this cannot be made one"),
        (torch.zeros(8_000, dtype=torch.bfloat16), r"of a tensor, give \.detach\(\)\.cpu\(\)\.float\(\)"),
        (torch.zeros(8_000, requires_grad=True), r"of a tensor, give \.detach\(\)\.cpu\(\)\.float\(\)"),
    ],
)
def test_what_is_no_waveform_is_refused(tiny_runs, waveform, said):
    inventory = speechunits.load(tiny_runs / "tiny" / "units.safetensors")
    with pytest.raises(InputRefused, match=said):
        inventory.units(waveform)


def test_a_recogniser_recognises(tmp_path):
    made = recognizer("logmel")
    tensors, header = made.export()
    write_bundle(tmp_path / "asr.safetensors", tensors, header)
    soundfile.write(tmp_path / "take.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    heard = speechunits.load_recognizer(str(tmp_path / "asr.safetensors")).recognize(str(tmp_path / "take.wav"))
    assert (heard.id, heard.duration_s) == ("take", 1.0)
    assert set(heard.text) <= set("abc")


def test_bundles_are_not_mistaken_for_each_other(tmp_path, tiny_runs):
    with pytest.raises(InputRefused, match=r"must be .*recognizer"):
        speechunits.load_recognizer(tiny_runs / "tiny" / "units.safetensors")
    with pytest.raises(InputRefused, match=r"none\.safetensors"):
        speechunits.load(tmp_path / "none.safetensors")
