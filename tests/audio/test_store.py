"""Decoded audio on disk: found again by any process, bounded, and never trusted where it is damaged."""

import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechunits.audio import cache
from speechunits.audio.cache import WaveformCache
from speechunits.audio.manifest import Recording
from speechunits.audio.store import AUDIO, WaveformStore

ENTRY = struct.calcsize("<8sqI4x") + 2 * 16_000


def corpus(folder, count=3, subtype="PCM_24", rate_hz=16_000):
    rng = np.random.default_rng(0)
    recordings = []
    for index in range(count):
        path = folder / f"{index}.wav"
        soundfile.write(path, rng.uniform(-1, 1, rate_hz), rate_hz, subtype=subtype)
        recordings.append(Recording(id=str(index), audio=path, duration_s=1.0))
    return recordings


def entries(store):
    return {path for path in store.folder.iterdir() if path.suffix == ".pcm"}


@pytest.fixture
def loads(monkeypatch):
    """The files decoded, in order."""
    decoded = []
    original = cache.load_waveform
    monkeypatch.setattr(cache, "load_waveform", lambda path, **_: decoded.append(path.stem) or original(path, **_))
    return decoded


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_what_is_read_does_not_depend_on_what_is_kept(tmp_path, loads, rate_hz):
    recordings = corpus(tmp_path, rate_hz=rate_hz)
    store = WaveformStore(tmp_path / "cache", 10)
    plain, first = (WaveformCache(recordings, 0, kept).read(1, 320, 9_000) for kept in (None, store))
    del loads[:]
    again = WaveformCache(recordings, 0, WaveformStore(tmp_path / "cache", 10)).read(1, 320, 9_000)
    assert not loads
    assert again.dtype == np.float32
    assert again.flags.writeable
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(again, plain)


def test_an_entry_belongs_to_a_file_as_it_is_and_to_a_segment(tmp_path):
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)
    store.put(recording, np.arange(5, dtype=np.int16), AUDIO)
    np.testing.assert_array_equal(store.get(recording, AUDIO), np.arange(5))
    assert store.get(replace(recording, start_s=0.0, end_s=0.5), AUDIO) is None
    assert store.get(replace(recording, id="other", speaker="s"), AUDIO) is not None
    status = recording.audio.stat()
    os.utime(recording.audio, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert store.get(recording, AUDIO) is None
    recording.audio.unlink()
    assert store.get(recording, AUDIO) is None


@pytest.mark.parametrize("damage", ["truncated", "longer", "foreign", "bit", "empty"])
def test_a_damaged_entry_is_made_anew(tmp_path, loads, damage):
    recordings = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)
    whole = WaveformCache(recordings, 0, store).read(0, 0, 16_000)
    (path,) = entries(store)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[1000] ^= 1
    path.write_bytes({
        "truncated": good[:-2], "longer": good + b"\0\0", "foreign": b"RIFF" + good[4:], "bit": bytes(flipped),
        "empty": b"",
    }[damage])  # fmt: skip
    np.testing.assert_array_equal(
        WaveformCache(recordings, 0, WaveformStore(store.folder, 10)).read(0, 0, 16_000), whole
    )
    assert loads == ["0", "0"]
    assert path.read_bytes() == good


def test_the_folder_is_bounded_and_loses_what_was_unused_for_longest(tmp_path):
    recordings = corpus(tmp_path, 6)
    store = WaveformStore(tmp_path / "cache", 4.5 * ENTRY / 1e6)
    samples = np.ones(16_000, np.int16)
    for age, recording in enumerate(recordings[:4]):
        store.put(recording, samples * age, AUDIO)
        (new,) = [path for path in entries(store) if path.stat().st_mtime > 1e6]
        os.utime(new, (age, age))
    kept = store.get(recordings[0], AUDIO)  # Used: now the youngest.
    held = store.get(recordings[1], AUDIO)
    os.utime(next(path for path in entries(store) if np.fromfile(path, "<i2")[-1] == 1), (1, 1))
    store.put(recordings[4], samples, AUDIO)
    assert sum(path.stat().st_size for path in entries(store)) <= 4.5 * ENTRY
    found = [store.get(recording, AUDIO) is not None for recording in recordings]
    assert found == [True, False, True, True, True, False]
    # Its file is gone, who reads it does not notice.
    np.testing.assert_array_equal(held, samples)
    np.testing.assert_array_equal(kept, 0 * samples)


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path):
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 0.01)
    store.put(recording, np.ones(16_000, np.int16), AUDIO)
    assert store.get(recording, AUDIO) is None
    assert not store.folder.exists()


def test_a_lost_total_and_abandoned_files_do_not_break_the_bound(tmp_path):
    recordings = corpus(tmp_path, 5)
    store = WaveformStore(tmp_path / "cache", 3.5 * ENTRY / 1e6)
    for recording in recordings[:3]:
        store.put(recording, np.ones(16_000, np.int16), AUDIO)
    (store.folder / "total").write_text("")
    abandoned = store.folder / ".a.1.part.pcm"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (1, 1))
    stranger = store.folder / "notes.txt"
    stranger.write_text("mine")
    store.put(recordings[3], np.ones(16_000, np.int16), AUDIO)
    assert len(entries(store)) == 3
    assert not abandoned.exists()
    assert stranger.exists()


def test_a_folder_that_cannot_be_written_is_named_once(tmp_path, capsys):
    recordings = corpus(tmp_path)
    (tmp_path / "cache").write_text("a file where the folder would be")
    waveforms = WaveformCache(recordings, 0, WaveformStore(tmp_path / "cache", 10))
    for index in (0, 1, 0):
        np.testing.assert_array_equal(
            waveforms.read(index, 0, 16_000), WaveformCache(recordings, 0).read(index, 0, 16_000)
        )
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(tmp_path / "cache") in said[0]
    assert "batch.cache_dir" in said[0]


def test_a_full_disk_leaves_no_half_entry(tmp_path, monkeypatch, capsys):
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)

    def full(samples):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechunits.audio.store.zlib.crc32", full)
    store.put(recording, np.ones(16_000, np.int16), AUDIO)
    assert "No space left" in capsys.readouterr().err
    assert not {path for path in store.folder.rglob("*") if "pcm" in path.name}


def read_all(recordings, folder, seed):
    """Read every recording a few times, in an order of its own."""
    waveforms = WaveformCache(recordings, 0, WaveformStore(folder, 5.5 * ENTRY / 1e6))
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(recordings)), 3))
    with ThreadPoolExecutor(2) as pool:
        sums = pool.map(lambda index: waveforms.read(index, 0, 16_000).sum(), order)
        return dict(zip(order.tolist(), sums, strict=True))


def test_processes_share_a_folder(tmp_path):
    recordings = corpus(tmp_path, 8)
    expected = {index: WaveformCache(recordings, 0).read(index, 0, 16_000).sum() for index in range(8)}
    with get_context("spawn").Pool(2) as pool:
        found = pool.starmap(read_all, [(recordings, tmp_path / "cache", seed) for seed in range(2)])
    assert found == [expected, expected]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.pcm")) <= 5.5 * ENTRY
    assert entries(WaveformStore(tmp_path / "cache", 1))


def test_no_file_stays_open_behind_what_was_read(tmp_path):
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)
    store.put(recording, np.ones(16_000, np.int16), AUDIO)
    before = len(list(Path("/proc/self/fd").iterdir()))
    waveforms = WaveformCache([recording], 0, store)
    pieces = [waveforms.read(0, 0, 320) for _ in range(50)]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    assert len(pieces) == 50


def test_the_total_is_never_read_half_written(tmp_path):
    """Room is asked for without the lock, while another thread writes."""
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)
    values = np.ones(8, np.int16)
    store.put(recording, values, AUDIO)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [store.put(recording, values, AUDIO) for _ in range(300)])
        answers = []
        while not writing.done():
            answers.append(store.has_room(8))
    writing.result()
    assert len(answers) > 100
    assert all(answers)


def test_what_is_used_is_read_though_it_cannot_be_marked(tmp_path, monkeypatch):
    (recording,) = corpus(tmp_path, 1)
    store = WaveformStore(tmp_path / "cache", 10)
    store.put(recording, np.arange(5, dtype=np.int16), AUDIO)
    (path,) = entries(store)
    os.utime(path, (0, 0))

    def gone(place, *_):
        path.unlink()
        raise PermissionError(place)

    monkeypatch.setattr(os, "utime", gone)
    np.testing.assert_array_equal(store.get(recording, AUDIO), np.arange(5))
    assert entries(store) == set()
