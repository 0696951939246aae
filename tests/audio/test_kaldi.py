"""Kaldi data folders, and what is refused in them."""

import numpy as np
import pytest
import soundfile

from speechunits.audio.kaldi import is_kaldi, read_kaldi
from speechunits.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "data" / "train"
    place.mkdir(parents=True)
    soundfile.write(place / "one.wav", np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000)
    soundfile.write(tmp_path / "two.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    (place / "wav.scp").write_text(f"rec1 one.wav\nrec2 {tmp_path / 'two.wav'}\n")
    return place


def test_recordings_without_segments(folder):
    (folder / "text").write_text("rec1 two  words\nrec2\n")
    (folder / "utt2spk").write_text("rec1 ann\nrec2 bob\n")
    assert is_kaldi(folder)
    rows, refusals, _ = read_kaldi(folder)
    assert refusals == []
    assert [(r.id, r.text, r.speaker, r.split, r.duration_s, r.start_s) for r in rows] == [
        ("rec1", "two words", "ann", "train", 2.0, None), ("rec2", None, "bob", "train", 1.0, None),
    ]  # fmt: skip
    assert rows[0].audio == folder / "one.wav"


def test_segments_are_rows(folder):
    (folder / "segments").write_text("u1 rec1 0.25 1.5\nu2 rec1 1.5 -1\nu3 rec2 0 1.04\n")
    (folder / "text").write_text("u1 e\u0301\n", encoding="utf-8")
    rows, refusals, _ = read_kaldi(folder)
    assert refusals == []
    assert [(r.id, r.start_s, r.end_s, r.duration_s) for r in rows] == [
        ("u1", 0.25, 1.5, 1.25), ("u2", 1.5, 2.0, 0.5), ("u3", 0.0, 1.0, 1.0),
    ]  # fmt: skip
    assert rows[0].text == "é"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("wav.scp", "rec1 one.wav\nx sox a.wav -t wav - |\n", "x: 'sox a.wav -t wav - |' is a command"),
        ("wav.scp", "rec1 one.wav\nx wav.ark:123\n", "place in an archive"),
        ("wav.scp", "rec1 one.wav\nx gone.wav\n", "missing"),
        ("wav.scp", "rec1 one.wav\nx\n", "line 2: must be a name and a value"),
        ("wav.scp", "rec1 one.wav\nrec1 one.wav\n", "line 2: the name 'rec1' must be unique"),
        ("segments", "rec1 rec1 0 1\nu rec9 0 1\n", "its recording rec9 is not in wav.scp"),
        ("segments", "rec1 rec1 0 1\nu rec1 1\n", "must be recording, start and end"),
        ("segments", "rec1 rec1 0 1\nu rec1 0 x\n", "must be recording, start and end"),
        ("segments", "rec1 rec1 0 1\nu rec1 1 2.1\n", "must lie within the recording's 0-2.000 s"),
        ("segments", "rec1 rec1 0 1\nu rec1 1 0.5\n", "must lie within"),
        ("utt2spk", "rec1\n", "utt2spk, line 1"),
    ],
)
def test_bad_lines_are_named_and_the_rest_taken(folder, name, text, said):
    (folder / name).write_text(text)
    rows, (refusal,), _ = read_kaldi(folder)
    assert rows[0].id == "rec1"
    assert said in refusal


def test_segments_of_a_refused_recording_say_so(folder):
    (folder / "wav.scp").write_text("rec1 cat one.wav |\nrec2 one.wav\n")
    (folder / "segments").write_text("u rec1 0 1\nv rec2 0 1\n")
    rows, refusals, _ = read_kaldi(folder)
    assert [row.id for row in rows] == ["v"]
    assert "its recording rec1 was refused" in refusals[1]


def test_files_that_cannot_be_read_are_usage_errors(folder):
    (folder / "text").write_bytes(b"rec1 \xff\n")
    with pytest.raises(UsageError, match="must be UTF-8"):
        read_kaldi(folder)
    (folder / "wav.scp").unlink()
    assert not is_kaldi(folder)
    with pytest.raises(UsageError, match="cannot read"):
        read_kaldi(folder)


def test_names_of_no_utterance_are_said(folder):
    (folder / "text").write_text("REC1 two\twords\nrec2 hello\tworld\n")
    (folder / "utt2spk").write_text("rec1 ann\nrec2 bob\n")
    rows, refusals, warnings = read_kaldi(folder)
    assert refusals == []
    assert [row.text for row in rows] == [None, "hello world"]
    assert warnings == [
        "text: 1 of 2 names are those of no utterance here, and are not read: the first is REC1",
    ]


def test_a_path_too_long_is_refused_alone(folder):
    (folder / "wav.scp").write_text(f"rec1 one.wav\nx {'y' * 300}\n")
    rows, refusals, _ = read_kaldi(folder)
    assert [row.id for row in rows] == ["rec1"]
    assert len(refusals) == 1
    assert "File name too long" in refusals[0]
