"""Alone = batched = chunked, bit for bit: over lengths at every edge, in blocks of any size, in fp32 and bf16."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.frames import canonical_windows, frame_count
from speechunits.units.extract import FeatureExtractor, ahead, cut_windows
from speechunits.units.features import Features
from speechunits.units.units import Units
from tests.units.conftest import noise

EDGES = [
    0, 1, 399, 400, 401, 719, 720, 721, 16_080, 16_081, 32_079, 32_080, 32_081, 80_080, 80_081, 160_080, 160_081,
    319_999, 320_000, 320_001, 256_000 + 256_079, 256_000 + 256_080, 256_000 + 256_081, 544_080,
]  # fmt: skip


FEW = [0, 1, 399, 400, 401, 720, 4_321, 16_080, 16_081, 32_081, 320_001]


def many():
    """Return 200 lengths: the edges, one long recording, and short ones at random."""
    rng = np.random.default_rng(0)
    return [*EDGES, 700_001, *rng.integers(2, 20_000, 199 - len(EDGES)).tolist()]


def blocks(waveform, rng):
    """Cut a waveform at random, empty blocks included."""
    edges = np.sort(rng.integers(0, len(waveform) + 1, 1 + len(waveform) // 60_000))
    return np.split(waveform, edges)


@pytest.mark.parametrize("samples", [*EDGES, 700_001, 1_000_000])
def test_windows_of_blocks_are_those_of_the_whole(samples):
    waveform = np.arange(samples, dtype=np.float32)
    for seed in range(3):
        found = list(cut_windows(blocks(waveform, np.random.default_rng(seed))))
        assert [window for window, _ in found] == canonical_windows(samples)
        for window, part in found:
            assert np.array_equal(part, waveform[window.start : window.stop])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lengths", [FEW, pytest.param(many(), marks=pytest.mark.slow)], ids=["few", "200"])
def test_alone_batched_and_chunked_are_the_same(units, tmp_path, precision, lengths):
    header = {**units.header, "units": {**units.header["units"], "precision": precision}}
    inventory = Units(units.tensors, header)
    waveform, rng = noise(700_001, 7), np.random.default_rng(1)
    alone, recordings = {}, []
    for samples in lengths:
        part = waveform[:samples]
        alone[str(samples)] = inventory.units(part)
        assert len(alone[str(samples)]) == frame_count(samples)
        streamed = [inventory.assign(piece.features) for piece in inventory.extractor.stream(blocks(part, rng))]
        assert np.array_equal(np.concatenate([np.zeros(0, np.int64), *streamed]), alone[str(samples)])
        if samples > 0:
            path = tmp_path / f"{samples}.wav"
            soundfile.write(path, part, 16_000, subtype="FLOAT")
            recordings.append(Recording(id=str(samples), audio=path, duration_s=samples / 16_000))
    for recording, found in inventory.recordings(recordings):
        assert np.array_equal(found, alone[recording.id])
        assert len(lengths) > len(FEW) or np.array_equal(inventory.transcribe(recording.audio).units, found)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_file_of_another_rate_is_decoded_as_it_is_transcribed(units, tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", noise(25 * rate_hz, 3), rate_hz, subtype="FLOAT")
    found = units.transcribe(tmp_path / "a.wav")
    assert np.array_equal(found.units, units.units(noise(25 * rate_hz, 3), rate_hz))
    assert found.duration_s == 25


_TRANSCRIBE = """
import sys
from pathlib import Path
from speechunits.units.units import Units
found = Units.load(Path(sys.argv[1])).transcribe(sys.argv[2])
# Not of getrusage, which begins with the peak of the process that started this one.
status = Path("/proc/self/status").read_text().splitlines()
(peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(len(found.units), found.duration_s, peak_kib)
"""


@pytest.mark.slow
def test_three_hours_fit_into_2_gib(units, tmp_path):
    units.save(tmp_path / "u.safetensors")
    minute = (noise(60 * 22_050, 5) * 32_000).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 22_050, 1, "PCM_16") as file:
        for _ in range(180):
            file.write(minute)
    command = [sys.executable, "-c", _TRANSCRIBE, str(tmp_path / "u.safetensors"), str(tmp_path / "long.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frames, duration_s, resident_kib = done.stdout.split()
    assert float(duration_s) == 10_800
    assert int(frames) == frame_count(10_800 * 16_000)
    # The waveform alone would be 691 MB: what is seen is torch and one window.
    assert int(resident_kib) < 1.2 * 1024**2


class Slow(Features):
    """Features that take their time, window by window."""

    dim = 1
    causal = False
    device = torch.device("cpu")
    windows = 0

    def compute(self, samples, lengths):
        self.windows += 1
        time.sleep(0.1)
        return torch.zeros(1, frame_count(int(lengths)), 1)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_does_not_wait_for_the_end_of_a_long_recording():
    slow = Slow()
    extractor = FeatureExtractor(slow)
    # Ten minutes: 38 windows.
    long = np.zeros(600 * 16_000, np.float32)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(ahead(lambda _: extractor.features(long), [0], 1))
    timer.join()
    assert slow.windows < 20


def test_few_results_wait_and_the_callers_threads_stay_its_own():
    begun: list[int] = []

    def compute(item):
        begun.append(item)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, second = ahead(compute, range(50), 2, waiting=1), ahead(compute, range(50), 2, waiting=1)
        (item, future), _ = next(first), next(second)
        assert (item, future.result(), torch.get_num_threads()) == (0, 1, 3)
        time.sleep(0.2)
        assert max(begun) <= 3
        first.close()
        second.close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
