"""Transcription: every input is done, skipped or refused by name, and none stops the others."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from praatio import textgrid

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import read_manifest, write_manifest
from speechunits.audio.scan import scan
from speechunits.cli import main
from speechunits.errors import InputRefused, UsageError
from speechunits.units import claim, writing
from speechunits.units.convert import convert
from speechunits.units.formats import from_json, from_text
from speechunits.units.inputs import read_list
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.reading import read_transcripts
from speechunits.units.sequence import merged
from speechunits.units.transcribe import transcribe
from tests.units.conftest import noise


@pytest.fixture
def folder(tmp_path):
    """Return a folder of good and bad recordings."""
    place = tmp_path / "in"
    (place / "sub dir").mkdir(parents=True)
    soundfile.write(place / "good.wav", noise(20_000), 16_000)
    soundfile.write(place / "sub dir" / "stéréo.flac", np.stack([noise(50_000, 1)] * 2, axis=1), 44_100)
    soundfile.write(place / "short.wav", noise(399), 16_000)
    soundfile.write(place / "one.wav", noise(1), 16_000)
    soundfile.write(place / "silent.wav", np.zeros(8_000), 16_000)
    soundfile.write(place / "nan.wav", np.full(8_000, np.nan), 16_000, subtype="FLOAT")
    (place / "empty.wav").touch()
    (place / "text.wav").write_text("this is no audio")
    soundfile.write(place / "none.wav", np.zeros(0), 16_000)
    (place / "cut.wav").write_bytes((place / "good.wav").read_bytes()[:9_000])
    (place / "tab\there.wav").write_bytes((place / "good.wav").read_bytes())
    (place / "notes.txt").write_text("not audio, not looked at")
    return place


def names(pairs):
    return sorted(name for name, _ in pairs)


def test_a_bad_file_is_named_and_never_stops_the_rest(folder, units, tmp_path):
    told = []
    out = tmp_path / "out"
    report = transcribe([folder], units, out=out, on_fault=lambda name, reason: told.append((name, reason)))
    assert sorted(report.done) == ["good", "one", "short", "silent", "sub dir/stéréo"]
    assert names(report.refused) == ["cut", "empty", "nan", "none", "tab\\there", "text"]
    assert names(report.warnings) == ["one", "short"]
    assert names(told) == names([*report.refused, *report.warnings])
    assert (out / "short.txt").read_text() == "\n"
    assert (out / "sub dir" / "stéréo.txt").exists()
    waveform, _ = soundfile.read(folder / "good.wav", dtype="float32")
    assert from_text((out / "good.txt").read_text()).tolist() == merged(units.units(waveform)).tolist()
    assert not list(out.rglob("*.part*"))


def test_names_that_are_not_utf8_are_refused(folder, units, tmp_path):
    try:
        (folder / os.fsdecode(b"caf\xe9.wav")).write_bytes((folder / "good.wav").read_bytes())
    except OSError:
        pytest.fail("this file system cannot hold the name that the test needs")
    report = transcribe([folder], units, out=tmp_path / "out", on_fault=lambda *_: None)
    assert "caf\\udce9" in names(report.refused)
    assert "good" in report.done


def test_what_is_done_is_skipped_unless_overwritten(folder, units, tmp_path):
    out = tmp_path / "out"
    first = transcribe([folder], units, out=out, on_fault=lambda *_: None)
    (out / "silent.txt").unlink()
    (out / "good.txt").write_text("kept\n")
    second = transcribe([folder], units, out=out, on_fault=lambda *_: None)
    assert second.done == ["silent"]
    assert sorted(second.skipped) == sorted(set(first.done) - {"silent"})
    assert (out / "good.txt").read_text() == "kept\n"
    third = transcribe([folder], units, out=out, overwrite=True, on_fault=lambda *_: None)
    assert sorted(third.done) == sorted(first.done)
    assert (out / "good.txt").read_text() != "kept\n"


def test_another_models_transcripts_are_not_taken_for_done(folder, units, tmp_path):
    out = tmp_path / "out"
    transcribe([folder / "good.wav"], units, out=out)
    with pytest.raises(UsageError, match="another model, format or option"):
        transcribe([folder / "good.wav"], units, out=out, frames=True)
    transcribe([folder / "good.wav"], units, out=out, frames=True, overwrite=True)
    assert len(from_text((out / "good.txt").read_text())) == 62


def test_what_was_overwritten_in_part_is_not_taken_for_done(folder, units, tmp_path, monkeypatch):
    out = tmp_path / "out"
    transcribe([folder], units, out=out, on_fault=lambda *_: None)
    transcribe([folder / "good.wav"], units, out=out, frames=True, overwrite=True)
    assert transcribe([folder / "good.wav"], units, out=out, frames=True).skipped == ["good"]
    with pytest.raises(UsageError, match=r"overwritten only in part; add --overwrite"):
        transcribe([folder], units, out=out, frames=True, on_fault=lambda *_: None)
    with pytest.raises(UsageError, match="another model, format or option"):
        transcribe([folder / "silent.wav"], units, out=out)

    written = []

    def stopped(path, text, real=writing.write_text):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.relative_to(out).with_suffix("").as_posix())
        real(path, text)

    monkeypatch.setattr(writing, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        transcribe([folder], units, out=out, overwrite=True, on_fault=lambda *_: None)
    monkeypatch.undo()
    assert sorted(transcribe([folder / f"{name}.wav" for name in written], units, out=out).skipped) == sorted(written)
    with pytest.raises(UsageError, match="only in part"):
        transcribe([folder], units, out=out, on_fault=lambda *_: None)
    done = transcribe([folder], units, out=out, overwrite=True, on_fault=lambda *_: None).done
    again = transcribe([folder], units, out=out, on_fault=lambda *_: None)
    assert sorted(again.skipped) == sorted(done)


def test_somebodys_own_texts_are_not_taken_for_done(folder, units, tmp_path, capsys):
    (folder / "good.txt").write_text("what the speaker said")
    with pytest.raises(UsageError, match=r"no record says were made here.*add --overwrite"):
        transcribe([folder / "good.wav"], units, out=folder)
    assert (folder / "good.txt").read_text() == "what the speaker said"
    out = tmp_path / "out"
    transcribe([folder / "good.wav", folder / "silent.wav"], units, out=out)
    capsys.readouterr()
    transcribe([folder / "good.wav", folder / "short.wav"], units, out=out)
    assert "1 of 2 texts are there already, and are skipped; --overwrite" in capsys.readouterr().err
    (out / "transcribe.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        transcribe([folder / "good.wav"], units, out=out)


def test_names_that_no_file_may_have_are_refused(folder, units, tmp_path):
    (folder / "good.wav").rename(folder / ("a" * 248 + ".wav"))
    (folder / "silent.wav").rename(folder / ("b" * 245 + ".wav"))
    out = tmp_path / "out"
    report = transcribe([folder], units, out=out, form="textgrid", on_fault=lambda *_: None)
    long = transcribe([tmp_path / ("c" * 250)], units, form="text", stream=io.StringIO(), on_fault=lambda *_: None)
    longer = transcribe([tmp_path / ("c" * 300)], units, stream=io.StringIO(), on_fault=lambda *_: None)
    assert [reason.split(": ")[1].split(";")[0] for _, reason in (*long.refused, *longer.refused)] == [
        "the file is missing", "the file cannot be read (File name too long)",
    ]  # fmt: skip
    assert long.refused[0][1].endswith("the file is missing; check the path, and the disk it is on")
    assert "a" * 248 in names(report.refused)
    assert "b" * 245 in report.done
    converted = convert(out, tmp_path / "lines", "textless")
    assert not converted.refused


def test_wrong_durations_of_a_manifest_are_named(units, corpus, tmp_path, capsys):
    write_manifest(tmp_path / "m.tsv", [corpus[0], replace(corpus[1], duration_s=9.0)])
    report = transcribe([tmp_path / "m.tsv"], units, stream=io.StringIO())
    assert names(report.warnings) == ["take1"]
    assert "take1: warning: duration must be 1.000 s, but is 9.000 s in the manifest" in capsys.readouterr().err


def test_without_a_folder_lines_go_to_the_stream(folder, units):
    stream = io.StringIO()
    inputs = [folder / name for name in ("good.wav", "short.wav", "gone.wav")]
    report = transcribe(inputs, units, stream=stream, frames=True, on_fault=lambda *_: None)
    good, short = stream.getvalue().splitlines()
    assert good.startswith("good\t")
    assert len(good.split("\t")[1].split()) == 62
    assert short == "short\t"
    assert names(report.refused) == ["gone"]


def test_faults_are_printed_by_default(folder, units, capsys):
    transcribe([folder / "text.wav", folder / "one.wav"], units)
    printed = capsys.readouterr()
    assert printed.out == "one\t\n"
    assert "text.wav" in printed.err
    assert "one: warning: shorter than one frame (25 ms)" in printed.err


def test_manifests_with_segments_are_read(units, corpus, tmp_path):
    write_manifest(tmp_path / "m.tsv", corpus[:2])
    lines = (tmp_path / "m.tsv").read_text().splitlines()
    rows = [lines[0] + "\tstart\tend", *(line + "\t\t" for line in lines[1:])]
    rows += [lines[1].replace("take0", "part", 1) + "\t0.1\t0.3", lines[1].replace("take0", "../out", 1) + "\t\t"]
    (tmp_path / "m.tsv").write_text("\n".join(rows) + "\n")
    stream = io.StringIO()
    report = transcribe([tmp_path / "m.tsv"], units, form="jsonl", stream=stream, on_fault=lambda *_: None)
    found = [from_json(line) for line in stream.getvalue().splitlines()]
    assert [transcript.id for transcript in found] == ["take0", "take1", "part"]
    assert [transcript.duration_s for transcript in found] == [0.5, 1.0, 0.2]
    assert names(report.refused) == ["../out"]


def test_equal_names_are_told_apart_by_suffix(units, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(4_000), 16_000)
    soundfile.write(tmp_path / "a.flac", noise(4_000), 16_000)
    report = transcribe([tmp_path, tmp_path / "a.wav"], units, out=tmp_path / "out", on_fault=lambda *_: None)
    assert sorted(report.done) == ["a.flac", "a.wav"]
    assert names(report.refused) == ["a.wav"]


def test_every_format_is_a_file(folder, units, tmp_path):
    model = Pseudotext.fit([[1, 2, 3] * 20], 12, pieces=20)
    with_model = units.with_pseudotext(model)
    for form in ("text", "jsonl", "textgrid"):
        transcribe([folder / "good.wav", folder / "one.wav"], with_model, out=tmp_path / form, form=form, pieces=True,
                   on_fault=lambda *_: None)  # fmt: skip
    value = json.loads((tmp_path / "jsonl" / "good.jsonl").read_text())
    assert model.decode((tmp_path / "text" / "good.txt").read_text().split()) == value["units"]
    grid = textgrid.openTextgrid(str(tmp_path / "textgrid" / "good.TextGrid"), includeEmptyIntervals=True)
    assert [int(entry.label) for entry in grid.getTier("units").entries] == value["units"]
    assert grid.maxTimestamp == 1.25
    assert textgrid.openTextgrid(str(tmp_path / "textgrid" / "one.TextGrid"), includeEmptyIntervals=True).tierNames


def test_wrong_requests_are_errors(folder, units, encoder_bundle, tmp_path):
    with pytest.raises(UsageError, match="folder for them with -o"):
        transcribe([folder], units, form="textgrid")
    with pytest.raises(UsageError, match="the format must be one of"):
        transcribe([folder], units, form="midi")
    with pytest.raises(UsageError, match="no pseudo-text model"):
        transcribe([folder], units, pieces=True)
    with pytest.raises(InputRefused, match="kind 'units'"):
        transcribe([folder], encoder_bundle)
    (tmp_path / "nothing").mkdir()
    report = transcribe([tmp_path / "nothing"], units, on_fault=lambda *_: None)
    assert names(report.refused) == [str(tmp_path / "nothing")]


def test_globs_and_lists_and_names_that_repeat(folder, units, tmp_path, monkeypatch):
    report = transcribe([folder / "*o*d.wav", folder / "**" / "*.flac"], units, out=tmp_path / "a")
    assert sorted(report.done) == ["good", "stéréo"]
    told = []
    report = transcribe([folder / "x*.wav"], units, out=tmp_path / "a", on_fault=lambda *fault: told.append(fault))
    assert report.done == []
    assert "no file matches" in told[0][1]
    for place in ("x", "y"):
        (tmp_path / place / "deep").mkdir(parents=True)
        soundfile.write(tmp_path / place / "deep" / "take.wav", noise(4_000), 16_000)
    listed = "".join(f"{path}\n" for path in [*sorted(tmp_path.glob("*/deep/take.wav")), folder / "good.wav", ""])
    paths = read_list(io.BytesIO(listed.encode()))
    report = transcribe(paths, units, out=tmp_path / "b")
    assert report.done == ["x/deep/take", "y/deep/take", "good"]


def test_a_recording_is_no_list(folder, units, tmp_path, monkeypatch, capsys):
    units.save(tmp_path / "u.safetensors")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((folder / "good.wav").read_bytes())))
    assert main(["transcribe", "-", "--model", str(tmp_path / "u.safetensors")]) == 2
    assert "`-` reads a list of paths, one a line, but standard input holds binary data" in capsys.readouterr().err


def test_the_same_file_twice_is_taken_once(units, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", noise(4_000), 16_000)
    (tmp_path / "b.wav").symlink_to("a.wav")
    inputs = [Path("b.wav"), Path("a.wav"), tmp_path / "a.wav", Path("b.wav")]
    report = transcribe(inputs, units, out=tmp_path / "out")
    assert (report.done, report.refused) == (["b", "a"], [])
    assert transcribe([Path("a.wav"), Path("a.wav")], units).done == ["a"]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_command_reads_lists(folder, units, tmp_path, monkeypatch, capsys):
    units.save(tmp_path / "u.safetensors")
    stdin = io.TextIOWrapper(io.BytesIO(f"{folder / 'good.wav'}\r\n\n{folder / 'silent.wav'}\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["transcribe", "-", "--model", str(tmp_path / "u.safetensors"), "--format", "km"]) == 0
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [62, 24]


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_nothing(folder, units, tmp_path, jobs):
    report = transcribe([folder], units, out=tmp_path / "out", form="jsonl", jobs=jobs, on_fault=lambda *_: None)
    assert report.done == ["good", "one", "short", "silent", "sub dir/stéréo"]
    for name in report.done:
        found = from_json((tmp_path / "out" / f"{name}.jsonl").read_text())
        (path,) = folder.glob(f"{name}.*")
        assert np.array_equal(found.units, units.transcribe(path).units)


def test_progress_tells_speed(folder, units, tmp_path, capsys):
    transcribe([folder / "good.wav"], units, out=tmp_path / "out")
    assert "transcribing: 100 %, 0 s left (1 s of audio, " in capsys.readouterr().err
    transcribe([folder / "good.wav"], units, out=tmp_path / "out")
    assert "transcribing" not in capsys.readouterr().err


def test_lines_of_km_stay_in_step_with_the_manifest(folder, units):
    stream = io.StringIO()
    inputs = [folder / name for name in ("good.wav", "nan.wav", "silent.wav")]
    report = transcribe(inputs, units, form="km", stream=stream, on_fault=lambda *_: None)
    assert [len(line.split()) for line in stream.getvalue().split("\n")] == [62, 0, 24, 0]
    assert names(report.refused) == ["nan"]


def test_textless_is_two_files(folder, units, tmp_path):
    transcribe([folder / "good.wav"], units, form="textless", out=tmp_path)
    (found,) = read_transcripts(tmp_path / "good.units", "textless")
    assert np.array_equal(found.units, units.transcribe(folder / "good.wav").units)


def test_margins_are_how_much_nearer_the_nearest_is(units, folder):
    found = units.transcribe(folder / "good.wav")
    features = units.extractor.features(load_waveform(folder / "good.wav"))
    centroids = units.tensors["units.centroids"].numpy()
    for row, margin in zip(features, found.margins, strict=True):
        nearest, second = sorted(float(np.sqrt(((row - centroid) ** 2).sum())) for centroid in centroids)[:2]
        assert margin == pytest.approx(1 - nearest / second, abs=1e-4)


def test_other_wrong_requests_are_errors(folder, units):
    with pytest.raises(UsageError, match="jobs must be at least 1, but is 0"):
        transcribe([folder], units, jobs=0)
    with pytest.raises(UsageError, match="km holds units, not pieces"):
        transcribe([folder], units, form="km", pieces=True)


def texts_of(folder, labels=None):
    found = scan(folder, labels=labels)
    return {row.id: row.text for row in found.recordings}, found.warnings


def test_units_are_never_taken_for_transcripts(folder, units, tmp_path):
    for name in ("cut", "nan", "text", "none", "tab\there"):
        (folder / f"{name}.wav").unlink()
    (folder / "notes.txt").unlink()
    (folder / "good.txt").write_text("what the speaker said")
    inputs = [folder / "short.wav", folder / "silent.wav"]
    with pytest.raises(UsageError, match="no record says were made here"):
        transcribe(inputs, units, out=folder)
    transcribe(inputs, units, out=folder, overwrite=True, on_fault=lambda *_: None)
    found, warnings = texts_of(folder)
    assert found == {"good": "what the speaker said", "silent": None, "short": None, "one": None, "stéréo": None}
    (warning,) = warnings
    assert warning.startswith(f"{folder}: 2 texts here are not taken for transcripts")
    # Written later by somebody: no record lists it, not even after another run that would have skipped it.
    (folder / "one.txt").write_text("one more")
    transcribe([folder / "one.wav", folder / "sub dir"], units, out=folder)
    assert texts_of(folder)[0] == found | {"one": "one more"}
    # By another key some remain of before, which stay this program's; whoever writes over all means all.
    transcribe([folder / "silent.wav"], units, out=folder, frames=True, overwrite=True)
    assert texts_of(folder)[0] == found | {"one": "one more"}
    transcribe([folder], units, out=folder, frames=True, overwrite=True, on_fault=lambda *_: None)
    assert set(texts_of(folder)[0].values()) == {None}
    # Sub-folders of the labels are below the folder that holds the record.
    assert texts_of(folder / "sub dir")[0] == {"stéréo": None}


def test_units_of_an_interrupted_run_are_no_transcripts_either(folder, units, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(claim, "_settle", stopped)
    with pytest.raises(KeyboardInterrupt):
        transcribe([folder / "good.wav"], units, out=tmp_path / "out")
    assert texts_of(folder, tmp_path / "out")[0]["good"] is None


def test_records_of_before_there_was_a_list_claim_every_text_of_theirs(folder, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    for name in ("good", "silent"):
        (labels / f"{name}.txt").write_text("a text")
    for record, said, expected in (
        ("recognize.json", {"key": "k"}, [None, None]),
        ("recognize.json", {"key": "k", "others": ["good.txt"]}, ["a text", None]),
        ("transcribe.json", {"key": "k", "form": ["text", False, False], "others": []}, [None, None]),
        ("transcribe.json", {"key": "k", "form": ["jsonl", False, False], "others": []}, ["a text", "a text"]),
        # Of another program, which calls its files so.
        ("transcribe.json", {"text": "hello"}, ["a text", "a text"]),
        ("transcribe.json", [], ["a text", "a text"]),
    ):
        (labels / record).write_text(json.dumps(said))
        found, warnings = texts_of(folder, labels)
        assert [found["good"], found["silent"]] == expected
        assert len(warnings) == (None in expected)
        (labels / record).unlink()


def test_the_manifest_says_whose_texts_it_left_out(folder, units, tmp_path, capsys):
    transcribe([folder / "good.wav"], units, out=tmp_path / "out")
    command = ["manifest", str(folder), "-o", str(tmp_path / "m.tsv"), "--labels", str(tmp_path / "out")]
    assert main(command) == 1
    assert "`speechunits transcribe` wrote them (transcribe.json says so)" in capsys.readouterr().err
    assert {row.text for row in read_manifest(tmp_path / "m.tsv")} == {None}


def test_paths_above_and_globs_of_any_depth(units, tmp_path, monkeypatch):
    for place in ("here/a", "other"):
        (tmp_path / place).mkdir(parents=True)
        soundfile.write(tmp_path / place / "x.wav", noise(4_000), 16_000)
    monkeypatch.chdir(tmp_path / "here")
    report = transcribe([Path("a/x.wav"), Path("../other/x.wav")], units, out=tmp_path / "out")
    assert (sorted(report.done), report.refused) == (["here/a/x", "other/x"], [])
    report = transcribe([Path("**/*")], units, out=tmp_path / "deep")
    assert (report.done, report.refused) == (["x"], [])


def test_durations_are_guarded_as_units_are(units, tmp_path):
    for name in ("a", "n" * 247):
        soundfile.write(tmp_path / f"{name}.wav", noise(4_000), 16_000)
    soundfile.write(tmp_path / "z.wav", noise(4_000), 16_000)
    inputs = sorted(tmp_path.glob("*.wav"))
    report = transcribe(inputs, units, form="textless", out=tmp_path / "out", on_fault=lambda *_: None)
    assert sorted(report.done) == ["a", "z"]
    assert "with .durations the name is longer" in report.refused[0][1]
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.durations").write_text("MINE")
    with pytest.raises(UsageError, match=r"first a\.durations\) that no record says were made here"):
        transcribe([tmp_path / "a.wav"], units, form="textless", out=own)
    assert (own / "a.durations").read_text() == "MINE"
    again = transcribe(inputs[:1], units, form="textless", out=tmp_path / "out")
    assert (again.done, again.skipped) == ([], ["a"])
