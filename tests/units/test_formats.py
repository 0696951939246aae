"""Transcripts are written so that other programs, and we, read them back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid

from speechunits.errors import InputRefused
from speechunits.units.formats import UnitTranscript, from_json, from_text, to_json, to_text, to_textgrid
from speechunits.units.pseudotext import Pseudotext

UNITS = np.array([3, 3, 3, 11, 0, 0, 3])
TRANSCRIPT = UnitTranscript(id="take ɲ", duration_s=0.1503125, units=UNITS)


@pytest.fixture(scope="module")
def pseudotext():
    return Pseudotext.fit([[3, 11, 0, 3], [5, 3, 11, 0, 7], [3, 11, 8, 3, 11]] * 20, 12, pieces=20)


def opened(text, tmp_path):
    (tmp_path / "a.TextGrid").write_text(text, encoding="utf-8")
    return textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)


def test_text_merges_runs_unless_told_otherwise():
    assert to_text(TRANSCRIPT) == "3 11 0 3"
    assert to_text(TRANSCRIPT, frames=True) == "3 3 3 11 0 0 3"
    assert from_text("3 3 3 11 0 0 3\n").tolist() == UNITS.tolist()
    assert from_text("").tolist() == []


def test_pieces_hold_the_same_units(pseudotext):
    line = to_text(TRANSCRIPT, pseudotext=pseudotext)
    assert "-" in line
    assert pseudotext.decode(line.split()) == [3, 11, 0, 3]


@given(units=st.lists(st.integers(0, 200), max_size=30))
def test_json_comes_back(units):
    duration_s = 0.02 * len(units) + 0.006
    before = UnitTranscript(id="a\tb", duration_s=duration_s, units=np.array(units, np.int64))
    after = from_json(to_json(before))
    assert (after.id, after.duration_s, after.units.tolist()) == ("a\tb", duration_s, units)


def test_json_says_where_runs_are(pseudotext):
    value = json.loads(to_json(TRANSCRIPT, pseudotext=pseudotext))
    assert value["units"] == [3, 11, 0, 3]
    assert value["runs"][1] == {"unit": 11, "frames": 1, "start_s": 0.0625, "end_s": 0.0825}
    assert value["runs"][-1]["end_s"] == 0.1503125
    assert pseudotext.decode(value["pieces"]) == [3, 11, 0, 3]
    assert json.loads(to_json(TRANSCRIPT, frames=True))["units"] == UNITS.tolist()


def test_praat_opens_the_runs(tmp_path):
    grid = opened(to_textgrid(TRANSCRIPT), tmp_path)
    assert grid.tierNames == ("units",)
    assert [tuple(entry) for entry in grid.getTier("units").entries] == [
        (0, 0.0625, "3"), (0.0625, 0.0825, "11"), (0.0825, 0.1225, "0"), (0.1225, 0.1503125, "3"),
    ]  # fmt: skip


def test_praat_opens_frames_and_pieces(tmp_path, pseudotext):
    grid = opened(to_textgrid(TRANSCRIPT, frames=True), tmp_path)
    assert [entry.label for entry in grid.getTier("units").entries] == [str(unit) for unit in UNITS]
    grid = opened(to_textgrid(TRANSCRIPT, pseudotext=pseudotext), tmp_path)
    pieces = grid.getTier("pieces").entries
    assert pieces[0].start == 0
    assert pieces[-1].end == 0.1503125
    assert pseudotext.decode([piece.label for piece in pieces]) == [3, 11, 0, 3]


@pytest.mark.parametrize(("units", "duration_s"), [([], 1 / 16_000), ([], 0.0249375), ([7], 0.025), ([7, 7], 0.05)])
def test_praat_opens_recordings_of_no_unit_and_of_one(tmp_path, units, duration_s):
    grid = opened(to_textgrid(UnitTranscript(id="a", duration_s=duration_s, units=np.array(units, np.int64))), tmp_path)
    assert [tuple(entry) for entry in grid.getTier("units").entries] == [
        (0, pytest.approx(duration_s, abs=1e-7), "7" if units else "")
    ]


def test_what_cannot_be_read_or_written_is_refused():
    for line in ("1 x", "-1"):
        with pytest.raises(InputRefused, match=r"units must be|must be whole numbers"):
            from_text(line)
    for line in ("", "[]", '{"id": "a"}', '{"id": "a", "duration_s": 1, "runs": [{"unit": "x", "frames": 1}]}'):
        with pytest.raises(InputRefused, match="must hold id"):
            from_json(line)
    with pytest.raises(InputRefused, match="longer than 0 s"):
        to_textgrid(UnitTranscript(id="a", duration_s=0.0, units=np.zeros(0, np.int64)))
