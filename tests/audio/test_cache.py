"""Decoded audio in memory: bounded, and without influence on what is read."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from speechunits.audio import cache
from speechunits.audio.cache import WaveformCache
from speechunits.audio.manifest import Recording
from speechunits.errors import InputRefused


def corpus(folder, seconds=(1.0, 1.0, 1.0), subtype="PCM_16"):
    rng = np.random.default_rng(0)
    recordings = []
    for index, length_s in enumerate(seconds):
        path = folder / f"{index}.wav"
        soundfile.write(path, rng.uniform(-1, 1, int(length_s * 16_000)), 16_000, subtype=subtype)
        recordings.append(Recording(id=str(index), audio=path, duration_s=length_s))
    return recordings


def test_the_cache_is_bounded_and_forgets_the_oldest(tmp_path, monkeypatch):
    recordings = corpus(tmp_path)
    loads = []
    monkeypatch.setattr(cache, "load_waveform", lambda path, **_: loads.append(path.stem) or np.zeros(16_000))
    waveforms = WaveformCache(recordings, limit_mb=0.07)  # Two of three: 32 kB each.
    for index in (0, 1, 0, 2, 0, 1):
        waveforms.read(index, 0, 16_000)
        assert waveforms.kept_bytes <= 70_000
    assert loads == ["0", "1", "2", "1"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_what_is_read_does_not_depend_on_what_is_kept(tmp_path, subtype):
    recordings = corpus(tmp_path, subtype=subtype)
    kept, forgotten = WaveformCache(recordings, 10), WaveformCache(recordings, 0)
    for _ in range(2):
        one, other = kept.read(1, 320, 9_000), forgotten.read(1, 320, 9_000)
        assert one.dtype == np.float32
        assert one.shape == (8_680,)
        np.testing.assert_array_equal(one, other)
    source = soundfile.read(recordings[1].audio, dtype="float32")[0][320:9_000]
    np.testing.assert_allclose(one, source, atol=0 if subtype == "PCM_16" else 0.6 / 32_768)


def test_long_recordings_are_read_by_seeking(tmp_path, monkeypatch):
    recordings = corpus(tmp_path, seconds=(3.0,))
    whole = WaveformCache(recordings, 10).read(0, 16_000, 20_000)
    monkeypatch.setattr(cache, "_WHOLE_S", 2.0)
    sought = WaveformCache(recordings, 10)
    np.testing.assert_array_equal(sought.read(0, 16_000, 20_000), whole)
    assert sought.kept_bytes == 0


def test_segments_count_from_their_start(tmp_path):
    (recording,) = corpus(tmp_path, seconds=(3.0,))
    segment = Recording(id="s", audio=recording.audio, duration_s=1.0, start_s=1.5, end_s=2.5)
    source = soundfile.read(recording.audio, dtype="float32")[0]
    np.testing.assert_array_equal(WaveformCache([segment], 10).read(0, 320, 640), source[24_320:24_640])


def test_a_recording_shorter_than_its_row_is_refused_with_the_remedy(tmp_path):
    (recording,) = corpus(tmp_path, seconds=(1.0,))
    with pytest.raises(InputRefused, match="make the manifest again"):
        WaveformCache([recording], 10).read(0, 17_000, 18_000)


def test_threads_read_the_same(tmp_path):
    recordings = corpus(tmp_path)
    waveforms = WaveformCache(recordings, 0.05)
    expected = [WaveformCache(recordings, 0).read(index, 0, 16_000) for index in range(3)]
    with ThreadPoolExecutor(4) as pool:
        for turn, read in enumerate(pool.map(lambda turn: waveforms.read(turn % 3, 0, 16_000), range(60))):
            np.testing.assert_array_equal(read, expected[turn % 3])
    assert waveforms.kept_bytes <= 50_000
