"""Cuts fall into pauses, leave 2 to 15 s, cover the recording, and depend on the seed alone."""

import numpy as np
import pytest
import soundfile

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording, read_manifest, write_manifest
from speechunits.audio.segment import LONGEST_S, SHORTEST_S, cut_points, energies_db, segmented


def speech(pauses_s, duration_s, rate_hz=16_000):
    """Return noise with near-silence around each of ``pauses_s``: .4 s, or 1 s where the time is a whole number."""
    samples = np.random.default_rng(0).normal(0, 0.1, round(duration_s * rate_hz))
    for pause_s in pauses_s:
        half_s = 0.5 if pause_s == int(pause_s) else 0.2
        samples[round((pause_s - half_s) * rate_hz) : round((pause_s + half_s) * rate_hz)] *= 1e-3
    return samples


def recording(path, samples, rate_hz=16_000, **fields):
    soundfile.write(path, samples, rate_hz)
    return Recording(id=path.stem, audio=path, duration_s=len(samples) / rate_hz, **fields)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_cuts_are_in_the_middle_of_pauses(tmp_path, rate_hz):
    pauses_s = [3.3, 7.0, 13.3, 21.0, 26.7, 34.5]
    long = recording(tmp_path / "a.wav", speech(pauses_s, 44, rate_hz), rate_hz, speaker="ann", split="dev")
    rows, refusals, notes = segmented([long], 0)
    assert refusals == notes == []
    assert [row.end_s for row in rows[:-1]] == pytest.approx([7.0, 21.0, 26.7, 34.5], abs=0.03)
    assert {(row.speaker, row.split, row.audio) for row in rows} == {("ann", "dev", long.audio)}


@pytest.mark.parametrize("duration_s", [15.02, 16.99, 17.0, 17.02, 47.3, 600.0])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_parts_have_2_to_15_s_and_cover_all(tmp_path, duration_s, level):
    samples = level * np.random.default_rng(1).standard_normal(round(duration_s * 8_000))
    long = recording(tmp_path / "a.wav", samples, 8_000)
    rows, _, _ = segmented([long], 3)
    assert rows[0].start_s == 0
    assert rows[-1].end_s == long.duration_s
    assert [row.end_s for row in rows[:-1]] == [row.start_s for row in rows[1:]]
    assert all(SHORTEST_S - 1e-9 <= row.duration_s <= LONGEST_S + 0.021 for row in rows)
    again, _, _ = segmented([recording(tmp_path / "b.wav", samples, 8_000), long], 3)
    assert [row for row in again if row.audio == long.audio] == rows
    if duration_s > 100 and level == 0.0:
        assert segmented([long], 4)[0] != rows


def test_times_lead_back_to_the_original(tmp_path):
    long = recording(tmp_path / "a.wav", speech([6, 14, 19.5], 33))
    rows, _, _ = segmented([long], 0)
    write_manifest(tmp_path / "m.tsv", rows)
    parts = [
        load_waveform(row.audio, start_s=row.start_s, end_s=row.end_s) for row in read_manifest(tmp_path / "m.tsv")
    ]
    assert np.array_equal(np.concatenate(parts), load_waveform(long.audio))
    assert len({row.id for row in rows}) == len(rows)


def test_short_ones_and_parts_stay_whole_and_texts_are_named(tmp_path):
    short = recording(tmp_path / "s.wav", speech([], 15.0), text="hello")
    part = Recording(id="p", audio=short.audio, duration_s=40.0, start_s=1.0, end_s=41.0)
    long = recording(tmp_path / "l.wav", speech([9], 18), text="all of it")
    rows, _, notes = segmented([short, part, long], 0)
    assert rows[:2] == [short, part]
    assert all(row.text is None for row in rows[2:])
    assert len(rows) == 4
    assert "l: its transcript is of the whole" in notes[0]


def test_one_that_cannot_be_read_is_named(tmp_path):
    gone = Recording(id="gone", audio=tmp_path / "gone.wav", duration_s=99.0)
    rows, refusals, notes = segmented([gone], 0)
    assert rows == notes == []
    assert "missing" in refusals[0]


def test_levels_do_not_depend_on_blocks():
    samples = np.random.default_rng(0).standard_normal(10_001).astype(np.float32)
    whole = energies_db([samples])
    assert len(whole) == 32
    assert np.array_equal(energies_db([samples[:7], samples[7:4_000], samples[4_000:]]), whole)
    assert whole[3] == pytest.approx(10 * np.log10(np.mean(samples[960:1280] ** 2)), abs=1e-4)
    assert energies_db([]).tolist() == []
    assert cut_points(energies_db([]), np.random.default_rng(0)) == []
