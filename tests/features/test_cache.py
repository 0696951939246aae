"""Log-mel kept for training: every crop's is its own to the bit, however it came about, and what is kept is bounded."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio import cache as audio_cache
from speechunits.audio.cache import WaveformCache
from speechunits.audio.manifest import Recording
from speechunits.audio.store import WaveformStore
from speechunits.features.cache import LogMelCache, padded_mel
from speechunits.features.mel import LogMel, mel_frame_counts

BINS = 80
SECONDS = (3.0, 2.5, 3.0)
CROPS = [(0, 48_000), (320, 16_720), (6400, 6800), (6400, 6960), (12_800, 14_560), (30_080, 48_000), (32_000, 35_333)]
WAV_BYTES = [round(32_000 * seconds) for seconds in SECONDS]


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for index, seconds in enumerate(SECONDS):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, round(16_000 * seconds)), 16_000)
        found.append(Recording(id=str(index), audio=path, duration_s=seconds))
    return found


@pytest.fixture
def computed(monkeypatch):
    """The numbers of samples whose log-mel was computed, in order."""
    sizes = []
    original = LogMelCache.of

    def of(self, waveform):
        sizes.append(len(waveform))
        return original(self, waveform)

    monkeypatch.setattr(LogMelCache, "of", of)
    return sizes


def made(recordings, limit_mb, store=None):
    audio = WaveformCache(recordings, limit_mb, store)
    return audio, LogMelCache(recordings, audio, BINS, store)


def read(caches, index, start, stop):
    audio, mel = caches
    return mel.read(index, start, len(audio.read(index, start, stop)))


def own(waveform):
    """A crop's log-mel as the model computes it: in a batch, padded."""
    batch = torch.zeros(2, len(waveform) + 12_800)
    batch[:, : len(waveform)] = torch.from_numpy(waveform)
    lengths = torch.full((2,), len(waveform))
    return LogMel(BINS)(batch, lengths)[0][0, : int(mel_frame_counts(lengths)[0])].numpy()


@pytest.mark.parametrize("way", ["whole", "long", "no room", "disk"])
@pytest.mark.parametrize(("start", "stop"), CROPS)
def test_a_crop_has_its_own_log_mel_to_the_bit(recordings, tmp_path, monkeypatch, way, start, stop):
    if way == "long":
        monkeypatch.setattr(audio_cache, "_WHOLE_S", 2.0)
    store = WaveformStore(tmp_path / "cache", 10) if way == "disk" else None
    caches = made(recordings, 10 if way in ("whole", "long") else 0, store)
    for _ in range(2):
        found = read(caches, 0, start, stop)
        assert (found is None) == (way in ("long", "no room"))
        found = caches[1].of(caches[0].read(0, start, stop)) if found is None else found
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, own(caches[0].read(0, start, stop)))
    assert (caches[1].kept_bytes > 0) == (way == "whole")


def test_a_kept_recording_is_computed_once(recordings, computed):
    caches = made(recordings, 10)
    del computed[:]
    for start, stop in CROPS:
        read(caches, 0, start, stop)
    assert computed == [48_000]


def test_recordings_at_other_speeds_are_kept_apart(recordings, computed):
    audio, mel = caches = made(recordings, 10)
    slow, fast = np.ones(20_000, np.float32), np.full(10_000, 0.5, np.float32)
    read(caches, 0, 0, 48_000)
    del computed[:]
    for _ in range(2):
        for speed, waveform in ((0.9, slow), (1.1, fast)):
            np.testing.assert_array_equal(mel.played(0, speed, waveform), own(waveform))
        np.testing.assert_array_equal(read(caches, 0, 0, 48_000), own(audio.read(0, 0, 48_000)))
    assert computed == [20_000, 10_000]
    assert made(recordings, 0)[1].played(0, 0.9, slow) is None


def test_a_crop_off_the_grid_is_no_slice(recordings):
    assert read(made(recordings, 10), 0, 100, 16_100) is None


def test_memory_is_audio_s_first(recordings, computed):
    frames = [4 * BINS * count for count in (298, 248, 298)]
    caches = made(recordings, 1e-6 * (sum(WAV_BYTES) + frames[0]))
    audio, mel = caches
    limit = audio.limit_bytes
    for index in range(3):
        read(caches, index, 0, 16_000)
        assert mel.kept_bytes <= limit - audio.kept_bytes
    assert audio.kept_bytes == sum(WAV_BYTES)
    # Two were kept while there was room; audio has taken that of the first, and there is none for another.
    assert mel.kept_bytes == frames[1]
    del computed[:]
    assert [read(caches, index, 0, 16_000) is None for index in (2, 1, 0)] == [True, False, True]
    assert not computed
    assert (audio.kept_bytes, mel.kept_bytes) == (sum(WAV_BYTES), frames[1])


def test_log_mel_on_disk_is_shared(recordings, tmp_path, computed):
    first = made(recordings, 0, WaveformStore(tmp_path / "cache", 10))
    expected = read(first, 1, 320, 16_320)
    assert len(list((tmp_path / "cache").glob("*.mel"))) == 1
    second = made(recordings, 0, WaveformStore(tmp_path / "cache", 10))
    del computed[:]
    np.testing.assert_array_equal(read(second, 1, 320, 16_320), expected)
    roomy = made(recordings, 10, WaveformStore(tmp_path / "cache", 10))
    del computed[:]
    np.testing.assert_array_equal(read(roomy, 1, 320, 16_320), expected)
    assert not computed
    assert roomy[1].kept_bytes == 4 * BINS * 248
    for path in (tmp_path / "cache").glob("*.mel"):
        path.unlink()
    np.testing.assert_array_equal(read(roomy, 1, 320, 16_320), expected)


def test_damaged_log_mel_is_made_anew(recordings, tmp_path):
    store = tmp_path / "cache"
    expected = read(made(recordings, 0, WaveformStore(store, 10)), 0, 0, 48_000)
    (path,) = store.glob("*.mel")
    good = path.read_bytes()
    for damaged in (good[:-80], good[:100] + b"\x00\x01\x02\x03" + good[104:], good[:-4], b""):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(read(made(recordings, 0, WaveformStore(store, 10)), 0, 0, 48_000), expected)
        assert path.read_bytes() == good


def test_another_computation_has_other_entries(recordings, tmp_path, monkeypatch):
    read(made(recordings, 0, WaveformStore(tmp_path / "cache", 10)), 0, 0, 48_000)
    monkeypatch.setattr("speechunits.features.mel._FLOOR", 1e-6)
    caches = made(recordings, 0, WaveformStore(tmp_path / "cache", 10))
    np.testing.assert_array_equal(read(caches, 0, 0, 48_000), own(caches[0].read(0, 0, 48_000)))
    assert len(list((tmp_path / "cache").glob("*.mel"))) == 2


def test_on_disk_log_mel_makes_room_for_audio_and_takes_none_from_it(recordings, tmp_path):
    # Room for all audio, and for log-mel of one recording.
    store = WaveformStore(tmp_path / "cache", 1e-6 * (sum(WAV_BYTES) + 100_000))
    caches = made(recordings, 0, store)

    def kept():
        return [len(list(store.folder.glob(f"*.{suffix}"))) for suffix in ("pcm", "mel")]

    read(caches, 0, 0, 16_000)
    assert kept() == [1, 1]
    read(caches, 1, 0, 16_000)
    assert kept() == [2, 2]
    read(caches, 2, 0, 16_000)
    pcm, mel = kept()
    assert pcm == 3
    assert mel <= 1
    assert sum(path.stat().st_size for path in store.folder.glob("*.*")) <= sum(WAV_BYTES) + 100_000


def test_threads_read_the_same(recordings):
    caches = made(recordings, 0.4)  # Room for the log-mel of one.
    expected = [own(caches[0].read(index, 0, 32_000)) for index in range(3)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda turn: read(caches, turn % 3, 0, 32_000), range(60)))
    for turn, frames in enumerate(found):
        if frames is not None:
            np.testing.assert_array_equal(frames, expected[turn % 3])
    assert sum(frames is not None for frames in found) >= 10
    assert caches[0].kept_bytes + caches[1].kept_bytes <= 400_000


def test_a_batch_is_zero_beyond_its_rows():
    rows = [np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)]
    padded = padded_mel(rows, torch.zeros(2, 400 + 6 * 160))
    assert padded.shape == (2, 7, 4)
    assert padded.sum(dim=(1, 2)).tolist() == [12, 20]
    assert not padded[0, 3:].any()
