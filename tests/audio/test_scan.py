"""A folder of mixed files: every fault named, the rest taken."""

import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile

from speechunits.audio.labels import labelled
from speechunits.audio.manifest import read_manifest, write_manifest
from speechunits.audio.scan import audio_below, scan
from speechunits.errors import UsageError
from speechunits.units.inputs import find_inputs


def sound(path, rate=16_000, seconds=0.5, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)), rate, **options)
    return path


def test_mixed_formats_with_speakers_and_texts(tmp_path):
    sound(tmp_path / "ann" / "a b.wav")
    sound(tmp_path / "ann" / "deep" / "c.FLAC", 44_100, format="FLAC")
    sound(tmp_path / "bob" / "d.mp3", 48_000)
    sound(tmp_path / "bob" / "e.opus", 48_000, format="OGG", subtype="OPUS")
    sound(tmp_path / "bob" / "f.ogg", 22_050)
    (tmp_path / "ann" / "a b.txt").write_text("two\n words ")
    (tmp_path / "bob" / "notes.pdf").write_text("no audio")
    shares = []
    found = scan(tmp_path, on_progress=lambda share, note: shares.append(share))
    assert found.faults == []
    assert [(r.id, r.speaker, r.text) for r in found.recordings] == [
        ("a b", "ann", "two words"), ("c", "ann", None), ("d", "bob", None), ("e", "bob", None), ("f", "bob", None),
    ]  # fmt: skip
    assert all(abs(r.duration_s - 0.5) < 0.05 for r in found.recordings)
    assert sum(shares) == pytest.approx(1)
    write_manifest(tmp_path / "m.tsv", found.recordings)
    assert [r.audio for r in read_manifest(tmp_path / "m.tsv")] == [r.audio for r in found.recordings]


def test_every_fault_is_named_with_its_remedy(tmp_path):
    good = sound(tmp_path / "good one.wav")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "letter.wav").write_text("dear all, " * 100)
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:1000])
    sound(tmp_path / "none.wav", seconds=0)
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan, np.float32), 16_000, subtype="FLOAT")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.wav")).write_bytes(good.read_bytes())
    (tmp_path / "tab\tbed.wav").write_bytes(good.read_bytes())
    (tmp_path / "line\nfeed.wav").write_bytes(good.read_bytes())
    (tmp_path / "good one.txt").write_bytes(b"\xff\xfe\xff")
    found = scan(tmp_path)
    assert [(r.id, r.text) for r in found.recordings] == [("good one", None)]
    reasons = {fault.path: fault.reason for fault in found.faults}
    for path, reason in {
        "bad\\udcff.wav": "not valid UTF-8", "tab\\tbed.wav": "tab or a newline", "line\\nfeed.wav": "tab or a newline",
        "empty.wav": "empty", "letter.wav": "not audio", "cut.wav": "truncated", "none.wav": "0 samples",
        "nan.wav": "NaN", "good one.txt": "not UTF-8",
    }.items():  # fmt: skip
        assert reason in reasons.pop(path)
    assert reasons == {}
    for fault in found.faults:
        assert ";" in fault.reason
        str(fault).encode("utf-8")
        assert "\n" not in str(fault)


def test_repeated_names_are_told_apart_by_their_folders(tmp_path):
    for name in ("x/1.wav", "y/1.wav", "y/2.wav", "y/2.flac"):
        sound(tmp_path / name)
    found = scan(tmp_path)
    assert [r.id for r in found.recordings] == ["x_1", "y_1", "y_2"]
    (fault,) = found.faults
    assert (fault.path, "y/2.flac" in fault.reason) == ("y/2.wav", True)


def test_folders_named_after_splits(tmp_path):
    for name in ("train/s1/a.wav", "train/s2/b.wav", "dev/s3/c.wav"):
        sound(tmp_path / name)
    assert [(r.split, r.speaker) for r in scan(tmp_path).recordings] == [
        ("dev", "s3"),
        ("train", "s1"),
        ("train", "s2"),
    ]


def test_labels_in_a_folder_of_their_own(tmp_path):
    sound(tmp_path / "audio" / "s" / "a.wav")
    (tmp_path / "labels" / "s").mkdir(parents=True)
    (tmp_path / "labels" / "s" / "a.txt").write_text("e\u0301")
    assert scan(tmp_path / "audio", labels=tmp_path / "labels").recordings[0].text == "é"


def test_nothing_to_scan(tmp_path):
    with pytest.raises(UsageError, match="no audio"):
        scan(tmp_path)
    with pytest.raises(UsageError, match="must be a folder"):
        scan(tmp_path / "none")


def test_links_to_nothing_and_folders_out_of_reach_are_named(tmp_path, monkeypatch):
    sound(tmp_path / "good.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "shut").mkdir()

    def closed(place, real=os.scandir):
        if str(place).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", closed)
    found = scan(tmp_path)
    assert [row.id for row in found.recordings] == ["good"]
    assert {fault.path: fault.reason.partition(";")[0] for fault in found.faults} == {
        "link.wav": "this is a link to a file that is missing",
        "shut": "the folder cannot be read (Permission denied)",
    }
    told = []
    assert [item.name for item in find_inputs([tmp_path], lambda *fault: told.append(fault))] == ["good", "link"]
    assert told[0][0].endswith("shut")


@pytest.mark.parametrize(("first", "second"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_written_in_another_way_are_the_same_name(tmp_path, first, second):
    sound(tmp_path / normalize(first, "Mbói é") / normalize(first, "tapé.wav"))
    sound(tmp_path / "b.wav")
    texts = tmp_path / "texts" / normalize(second, "Mbói é") / normalize(second, "tapé.txt")
    texts.parent.mkdir(parents=True)
    texts.write_text("a way")
    (tmp_path / normalize(first, "Mbói é") / normalize(second, "tapé.TXT")).write_text("another way")
    found = {row.id: row.text for row in scan(tmp_path, labels=tmp_path / "texts").recordings}
    assert found == {"b": None, normalize(first, "tapé"): "a way"}
    assert {row.text for row in scan(tmp_path).recordings} == {None, "another way"}
    # Of two that look alike the one that is the same byte by byte.
    (texts.parent / normalize(first, "tapé.txt")).write_text("the way")
    assert {row.text for row in scan(tmp_path, labels=tmp_path / "texts").recordings} == {None, "the way"}


def test_transcripts_out_of_reach_are_named(tmp_path, monkeypatch):
    sound(tmp_path / "in" / "shut" / "a.wav")
    sound(tmp_path / "in" / "b.wav")
    (tmp_path / "texts" / "shut").mkdir(parents=True)

    def closed(place, real=os.listdir):
        if str(place).endswith("texts/shut"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "listdir", closed)
    (fault,) = scan(tmp_path / "in", labels=tmp_path / "texts").faults
    assert str(fault).startswith(f"{tmp_path}/texts/shut: the folder cannot be read (Permission denied); check its")
    with pytest.raises(UsageError, match=r"texts/shut: the folder cannot be read \(Permission denied\)"):
        labelled(scan(tmp_path / "in").recordings[1:], tmp_path / "in", tmp_path / "texts", "words")


def test_a_folder_that_cannot_be_read_is_named_itself(tmp_path, monkeypatch):
    def closed(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match=rf"^{tmp_path}: the folder cannot be read \(Permission denied\); check its"):
        scan(tmp_path)


def test_recordings_of_telephones_and_cameras_are_named(tmp_path):
    sound(tmp_path / "good.wav")
    names = [f"in it/take{suffix}" for suffix in (".m4a", ".MP4", ".wma", ".amr", ".aac", ".3gp", ".mov", ".webm")]
    (tmp_path / "in it").mkdir()
    for name in (*names, "in it/.hidden.m4a", "good.mp4", "notes.pdf"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    found = scan(tmp_path)
    assert [row.id for row in found.recordings] == ["good"]
    # The sound of a video that lies beside it is what is wanted of it.
    assert [fault.path for fault in found.faults] == sorted(names)
    place = tmp_path / "in it" / "take"
    assert found.faults[-1].reason == (
        f".wma is not read; convert it to wav or flac, such as by `ffmpeg -i '{place}.wma' '{place}.wav'`"
    )
    told = []
    find_inputs([tmp_path], lambda name, reason: told.append((name, reason)))
    assert [name for name, _ in told] == [f"{tmp_path}/{name}" for name in sorted(names)]
    (tmp_path / "good.wav").unlink()
    with pytest.raises(UsageError, match=r"holds no audio file(.|\n)*good\.mp4: \.mp4 is not read"):
        scan(tmp_path)


def test_hidden_folders_hold_no_recordings(tmp_path):
    for name in (".Trash-1000/files/deleted.wav", "sub/.stversions/old.wav", "sub/a.wav", ".b.wav"):
        sound(tmp_path / name)
    assert [row.id for row in scan(tmp_path).recordings] == ["a"]
    assert [path.name for path in audio_below(tmp_path, lambda *_: None)] == ["a.wav"]
    # A folder that is named counts, whatever it is called.
    assert [row.id for row in scan(tmp_path / ".Trash-1000").recordings] == ["deleted"]


def test_transcripts_of_no_recording_are_named(tmp_path):
    for name in ("story0.wav", "story1.wav", "own.wav"):
        sound(tmp_path / name)
    for name in ("Story0.txt", "story1-transcript.txt", "own.TXT", "own.txt"):
        (tmp_path / name).write_text("a text")
    units = tmp_path / "units"
    units.mkdir()
    (units / "own.txt").write_text("1 2 3")
    (units / "transcribe.json").write_text('{"key": "k", "texts": ["own.txt"]}')
    found = scan(tmp_path)
    assert [row.text for row in found.recordings] == ["a text", None, None]
    doubled, alone, written = found.warnings
    assert doubled == (
        f"{tmp_path}: 1 .txt files are not read, since another one of their name is: the first is own.TXT "
        "(own.txt is read)"
    )
    assert "2 .txt files are not read, since they have no recording's name, or not its folder: the first is" in alone
    assert alone.endswith("the first is Story0.txt (Story0.txt: is it of story0.wav?)")
    assert "1 texts here are not taken for transcripts" in written
