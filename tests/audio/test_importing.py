"""Folders into manifests: which options go together, parts of a recording in one split, many files in little memory."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from speechunits.audio import segment
from speechunits.audio.importing import ImportOptions, make_manifest
from speechunits.audio.manifest import read_manifest
from speechunits.cli import main
from speechunits.errors import InputRefused, UsageError


def sound(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, int(8_000 * seconds)), 8_000)


def test_parts_of_a_recording_are_in_one_split(tmp_path):
    for index in range(6):
        sound(tmp_path / "in" / f"{index}.wav", 40)
    assert main(["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv"), "--segment"]) == 0
    rows = read_manifest(tmp_path / "m.tsv")
    assert len(rows) > 12
    splits = {row.audio: {other.split for other in rows if other.audio == row.audio} - {"tune"} for row in rows}
    assert all(len(own) <= 1 for own in splits.values())
    assert {row.split for row in rows} >= {"train", "dev", "test"}
    assert sum(row.duration_s for row in rows) == pytest.approx(240)


def test_one_long_recording_is_all_train(tmp_path, capsys):
    sound(tmp_path / "in" / "a.wav", 60)
    assert make_manifest(tmp_path / "in", tmp_path / "m.tsv", ImportOptions(segment=True)) == []
    assert {row.split for row in read_manifest(tmp_path / "m.tsv")} <= {"train", "tune"}
    assert "at least 3 recordings, but there are 1: all are train" in capsys.readouterr().err


def test_a_kaldi_folder_and_a_tier_come_through_the_command(tmp_path, capsys):
    sound(tmp_path / "in" / "a.wav", 3)
    (tmp_path / "in" / "a.TextGrid").write_text(
        '"ooTextFile" "TextGrid" 0 3 <exists> 1 "IntervalTier" "w" 0 3 2 0 1 "one" 1 3 "two"'
    )
    command = ["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv"), "--labels", str(tmp_path / "in")]
    assert main([*command, "--tier", "w"]) == 0
    assert [(row.text, row.start_s) for row in read_manifest(tmp_path / "m.tsv")] == [("one", 0), ("two", 1)]
    assert main([*command, "--tier", "v"]) == 1
    said = capsys.readouterr().err
    assert "the file's tiers are 'w'" in said
    assert "all was refused (1 faults, named above); nothing was written" in said
    (tmp_path / "in" / "wav.scp").write_text("u a.wav\nv cat |\n")
    assert main(command[:4]) == 1
    assert [row.id for row in read_manifest(tmp_path / "m.tsv")] == ["u"]
    assert "is a command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tier": "w"}, "with --labels"),
        ({"tier": "w", "labels": True, "segment": True}, "leave out --segment"),
        ({"labels": True, "card": True}, "goes with a folder of recordings"),
    ],
)
def test_options_that_do_not_fit_together(tmp_path, options, said):
    chosen = {name: tmp_path if value is True and name != "segment" else value for name, value in options.items()}
    with pytest.raises(UsageError, match=said):
        make_manifest(tmp_path, tmp_path / "m.tsv", ImportOptions(**chosen))
    assert not (tmp_path / "m.tsv").exists()


def test_labels_that_match_nothing_are_said_after_the_faults(tmp_path, capsys):
    sound(tmp_path / "in" / "a.wav", 1)
    (tmp_path / "in" / "b.wav").touch()
    (tmp_path / "labels").mkdir()
    command = ["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv"), "--labels", str(tmp_path / "labels")]
    for extra, said in (([], "holds no .txt named like any recording"), (["--tier", "w"], "named like any recording")):
        assert main([*command, *extra]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "refused: b.wav: the file is empty" in error
    (tmp_path / "labels" / "a.textgrid").write_text('"ooTextFile" "TextGrid" 0 1 <absent>')
    assert main(command) == 2
    assert "name their tier with --tier" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "nowhere")]) == 2
    assert "must be a folder of transcripts" in capsys.readouterr().err
    assert not (tmp_path / "m.tsv").exists()
    (tmp_path / "labels" / "a.TXT").write_text("what was said")
    assert main(command) == 1
    assert [row.text for row in read_manifest(tmp_path / "m.tsv")] == ["what was said"]


def test_all_refused_is_1_and_nothing_there_is_2(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    command = ["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv")]
    assert main(command) == 2
    (tmp_path / "in" / "a.wav").touch()
    assert main(command) == 1
    assert "all was refused" in capsys.readouterr().err


def test_fairseqs_and_kaldis_recordings_are_decoded_to_their_end(tmp_path, capsys):
    for name in ("a", "b"):
        sound(tmp_path / f"{name}.wav", 3)
        soundfile.write(tmp_path / f"{name}.flac", soundfile.read(tmp_path / f"{name}.wav")[0], 8_000)
    cut = (tmp_path / "b.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.flac\t48000\nb.flac\t48000\n")
    (tmp_path / "wav.scp").write_text("a a.flac\nb b.flac\n")
    for source in (tmp_path / "train.tsv", tmp_path):
        assert main(["manifest", str(source), "-o", str(tmp_path / "out" / "m.tsv")]) == 1
        assert "decoding stops midway" in capsys.readouterr().err
        assert [row.id for row in read_manifest(tmp_path / "out" / "m.tsv")] == ["a"]


def test_what_cannot_be_cut_is_refused(tmp_path, monkeypatch):
    sound(tmp_path / "in" / "a.wav", 20)
    sound(tmp_path / "in" / "b.wav", 20)

    def gone(path, real=segment.stream_waveform):
        if path.stem == "b":
            raise InputRefused("b: gone meanwhile; bring it back")
        return real(path)

    monkeypatch.setattr(segment, "stream_waveform", gone)
    assert main(["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv"), "--segment"]) == 1
    assert {row.audio.stem for row in read_manifest(tmp_path / "m.tsv")} == {"a"}


_SCAN = """
import sys
from pathlib import Path
from speechunits.audio.importing import ImportOptions, make_manifest
make_manifest(Path(sys.argv[1]), Path(sys.argv[2]), ImportOptions())
# Not of getrusage, which begins with the peak of the process that started this one.
print(*(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(
    ("count", "limit_mib"), [(2_000, 640), pytest.param(100_000, 1024, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_files_in_bounded_memory(tmp_path, count, limit_mib):
    for index in range(count):
        place = tmp_path / "in" / f"s{index % 100:02d}"
        if index < 100:
            place.mkdir(parents=True)
        # Names of their own, one content, in copies of few links: file systems limit them.
        if index % 1_000 == 0:
            sound(tmp_path / f"{index}.wav", 0.05)
        os.link(tmp_path / f"{index // 1_000 * 1_000}.wav", place / f"{index:06d}.wav")
    command = [sys.executable, "-c", _SCAN, str(tmp_path / "in"), str(tmp_path / "m.tsv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "scanning: 100 %" in done.stderr
    assert len((tmp_path / "m.tsv").read_text().splitlines()) == count + 1
    assert int(done.stdout) < 1024 * limit_mib


def test_oddities_of_recordings_are_told_from_wherever_they_come(tmp_path, capsys):
    place = tmp_path / "in"
    place.mkdir()
    soundfile.write(place / "loud.wav", 2 * np.sin(np.arange(16_000)), 16_000, subtype="FLOAT")
    (tmp_path / "list.tsv").write_text(f"{place}\nloud.wav\t16000\n")
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "wav.scp").write_text(f"loud {place / 'loud.wav'}\n")
    for source in (place, tmp_path / "list.tsv", tmp_path / "kaldi"):
        assert main(["manifest", str(source), "-o", str(tmp_path / "m.tsv")]) == 0
        assert "must lie within ±1, but reach ±2" in capsys.readouterr().err


def test_a_recording_whose_path_no_manifest_can_hold_is_refused_and_the_rest_kept(tmp_path, capsys):
    sound(tmp_path / "in" / "good.wav", 1)
    for number, name in enumerate((os.fsdecode(b"caf\xe9"), "tab\tbed", "no\N{NO-BREAK SPACE}break")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "take.wav").write_bytes((tmp_path / "in" / "good.wav").read_bytes())
        (tmp_path / "in" / f"link{number}.wav").symlink_to(tmp_path / name / "take.wav")
    assert main(["manifest", str(tmp_path / "in"), "-o", str(tmp_path / "m.tsv")]) == 1
    assert {row.id for row in read_manifest(tmp_path / "m.tsv")} == {"good", "link2"}
    said = capsys.readouterr().err
    assert "refused: link0: its path, with links followed, is caf\\udce9/take.wav, which is not valid UTF-8" in said
    assert "refused: link1: its path, with links followed, is tab\\tbed/take.wav" in said


@pytest.mark.parametrize("options", [[], ["--segment"]])
def test_a_manifest_of_ours_is_named_once(tmp_path, capsys, options):
    rows = "".join(f"r{index}\tr{index}.wav\t1\n" for index in range(9))
    (tmp_path / "own.tsv").write_text("id\taudio\tduration\n" + rows)
    assert main(["manifest", str(tmp_path / "own.tsv"), "-o", str(tmp_path / "m.tsv"), *options]) == 2
    said = capsys.readouterr().err
    assert "own.tsv is a manifest already" in said
    assert "name the folder of its recordings instead" in said
    assert said.count("\n") == 1
