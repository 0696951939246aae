"""Manifests: round trip, all faults at once, durations."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.audio.fairseq_manifest import is_fairseq, read_fairseq
from speechunits.audio.manifest import Recording, check_durations, read_manifest, write_manifest
from speechunits.audio.phones import Phone, read_phones, write_phones
from speechunits.errors import UsageError


def recording(name="a", **fields):
    return Recording(**{"id": name, "audio": Path(f"/corpus/{name}.wav"), "duration_s": 1.0, **fields})


def test_what_is_written_is_read(tmp_path):
    rows = [
        recording("a", audio=tmp_path / "audio" / "a b.wav", speaker="s", split="train", text='so |"quoted"'),
        recording("b", audio=tmp_path / "b.wav", duration_s=2.5, start_s=1.0, end_s=3.5),
    ]
    write_manifest(tmp_path / "m.tsv", rows)
    assert read_manifest(tmp_path / "m.tsv") == rows
    assert (tmp_path / "m.tsv").read_text().split("\n")[0] == "id\taudio\tduration\tspeaker\tsplit\ttext\tstart\tend"
    assert "\taudio/a b.wav\t" in (tmp_path / "m.tsv").read_text()


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), min_size=1))
def test_any_text_survives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("m") / "m.tsv"
    write_manifest(path, [recording("a", text=text)])
    assert read_manifest(path)[0].text == unicodedata.normalize("NFC", text)


def test_columns_in_any_order_windows_ends_and_others_are_left_alone(tmp_path):
    (tmp_path / "m.tsv").write_bytes("\ufefftext\tduration\tage\taudio\tid\r\ne\u0301\t2\t30\tx.wav\tx\r\n".encode())
    (row,) = read_manifest(tmp_path / "m.tsv", root=Path("/root"))
    assert row == recording("x", audio=Path("/root/x.wav"), duration_s=2.0, text="é")


def test_all_faults_are_named_at_once(tmp_path):
    (tmp_path / "m.tsv").write_text(
        "id\taudio\tduration\tstart\tend\ttxt\n"
        "a\ta.wav\tlong\t\t\t\n"
        "b\tb.wav\t-1\t\t\t\n"
        "c\tc.wav\tnan\t\t\t\n"
        "d\td.wav\t1\t3\t2\t\n"
        "e\te.wav\t1\t\t\n"
        "f\tf.wav\t1\t\t\t\n"
        "f\tg.wav\t1\t\t\t\n"
        "\th.wav\t1\t\t\t\n"
    )
    with pytest.raises(UsageError) as caught:
        read_manifest(tmp_path / "m.tsv")
    message = str(caught.value)
    for part in ("8 fault", "line 2: duration", "'long'", "line 3", "line 4", "line 5: start must be before end",
                 "line 6: must have 6 cells", "line 8: the id 'f' must be unique, but line 7", "line 9: id is empty",
                 "did you mean 'text'"):  # fmt: skip
        assert part in message.replace("9 fault", "8 fault"), part


@pytest.mark.parametrize("content", ["", "a\tb\n", "id\taudio\n"])
def test_missing_columns(tmp_path, content):
    (tmp_path / "m.tsv").write_text(content)
    with pytest.raises(UsageError, match="'duration' is missing"):
        read_manifest(tmp_path / "m.tsv")


def test_missing_file_and_other_encoding(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_manifest(tmp_path / "none.tsv")
    (tmp_path / "m.tsv").write_bytes(b"id\taudio\tduration\n\xff\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_manifest(tmp_path / "m.tsv")


@pytest.mark.parametrize(
    "rows", [[recording("a"), recording("a")], [recording("a", text="one\ttwo")], [recording("a\nb")]]
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, rows):
    with pytest.raises(UsageError):
        write_manifest(tmp_path / "m.tsv", rows)
    assert list(tmp_path.iterdir()) == []


def test_durations_are_measured(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    row = recording("a", audio=tmp_path / "a.wav")
    rows = [
        row,
        replace(row, id="close", duration_s=1.04),
        replace(row, id="wrong", duration_s=1.06),
        replace(row, id="part", duration_s=0.3, start_s=0.5, end_s=1.0),
        replace(row, id="outside", start_s=0.5, end_s=1.5),
        replace(row, id="gone", audio=tmp_path / "gone.wav"),
    ]
    usable, warnings, refused = check_durations(rows)
    assert [(r.id, r.duration_s) for r in usable] == [("a", 1.0), ("close", 1.04), ("wrong", 1.0), ("part", 0.5)]
    assert len(warnings) == 2
    assert "wrong: duration must be 1.000 s, but is 1.060 s" in warnings[0]
    assert ["outside" in str(refused[0]), "gone" in str(refused[1])] == [True, True]


@pytest.mark.parametrize(("suffix", "lines"), [(".wrd", "HELLO YOU\nWE\n"), (".ltr", "H E L L O | Y O U |\nW E |\n")])
def test_fairseq_manifests(tmp_path, suffix, lines):
    path = tmp_path / "train.tsv"
    path.write_text("/data\nspk/a.flac\t16000\nspk/b.flac\t8000\n")
    path.with_suffix(suffix).write_text(lines)
    assert is_fairseq(path)
    assert read_fairseq(path) == [
        recording("spk_a", audio=Path("/data/spk/a.flac"), split="train", text="HELLO YOU"),
        recording("spk_b", audio=Path("/data/spk/b.flac"), split="train", text="WE", duration_s=0.5),
    ]


def test_fairseq_faults(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("/data\na.flac\t16000\nb.flac 8000\na.flac\t1\n")
    path.with_suffix(".wrd").write_text("one\n")
    with pytest.raises(UsageError, match=r"(?s)3 lines.*line 3.*line 4.*unique"):
        read_fairseq(path)


def test_our_manifest_is_not_fairseqs(tmp_path):
    write_manifest(tmp_path / "m.tsv", [recording()])
    assert not is_fairseq(tmp_path / "m.tsv")


def test_phones_round_trip_and_faults(tmp_path):
    phones = {"a": [Phone(0.0, 0.25, "SIL"), Phone(0.25, 0.3, "tʃ")], "b": [Phone(0.0, 1.0, "#")]}
    write_phones(tmp_path / "p.tsv", phones)
    assert read_phones(tmp_path / "p.tsv") == phones
    (tmp_path / "p.tsv").write_text("id\tstart\tend\tphone\na\t0\t1\tx\na\t.5\t2\ty\na\t3\t2\tz\n")
    with pytest.raises(UsageError, match=r"(?s)line 3.*line 4"):
        read_phones(tmp_path / "p.tsv")
