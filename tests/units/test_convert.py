"""Every format comes back, other programs open it, and what a format does not hold is named."""

import itertools
import json
import re

import numpy as np
import pympi
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid

from speechunits.audio.importing import ImportOptions, make_manifest
from speechunits.audio.manifest import read_manifest
from speechunits.cli import main
from speechunits.errors import InputRefused, UsageError
from speechunits.frames import frame_count
from speechunits.run import read_json
from speechunits.units.convert import convert
from speechunits.units.formats import FORMATS, from_json, to_durations, to_json
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.reading import read_transcripts
from speechunits.units.transcript import UnitTranscript

TIMED = ("jsonl", "ctm", "textgrid", "eaf")


def transcript(name="take 1", samples=5 * 16_000 + 77, seed=0, *, margins=True):
    rng = np.random.default_rng(seed)
    units = np.repeat(rng.integers(0, 30, 900), rng.integers(1, 5, 900))[: frame_count(samples)]
    found = np.round(rng.random(len(units)), 4).astype(np.float32) if margins else None
    return UnitTranscript(id=name, duration_s=samples / 16_000, units=units, margins=found)


def write(path, form, *rows, **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join(FORMATS[form].write(row, **options).removesuffix("\n") for row in rows) + "\n", "utf-8")
    return path


def same(found, expected, *, duration=True):
    assert found.id == expected.id
    assert found.units.tolist() == expected.units.tolist()
    if duration:
        assert found.duration_s == expected.duration_s


@pytest.mark.parametrize("form", TIMED)
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("samples", [1, 399, 400, 401, 721, 80_077, 400_000])
def test_timed_formats_come_back_exactly(tmp_path, form, frames, samples):
    before = transcript(samples=samples)
    path = write(tmp_path / f"take 1{FORMATS[form].suffix}", form, before, frames=frames)
    (after,) = read_transcripts(path, form)
    same(after, before)
    if form in ("jsonl", "ctm") and frames and len(before.units):
        assert after.margins == pytest.approx(before.margins, abs=1e-4)


@given(samples=st.integers(1, 60_000), seed=st.integers(0, 9))
def test_ctm_and_json_come_back_for_any_length(samples, seed):
    from speechunits.units.ctm import from_ctm, to_ctm

    before = transcript("a b%;", samples, seed)
    (after,) = from_ctm(to_ctm(before) + "\n")
    same(after, before)
    again = from_json(to_json(after))
    same(again, before)
    assert "a%20b%25; " in to_ctm(again)


def test_ctm_names_times_and_confidence():
    row = UnitTranscript(id="é x", duration_s=0.0675, units=np.array([7, 7, 3]),
                         margins=np.array([0.5, 0.25, 1], np.float32))  # fmt: skip
    assert FORMATS["ctm"].write(row) == "é%20x 1 0 0.0425 7 0.3750\né%20x 1 0.0425 0.025 3 1.0000"


def test_elan_opens_the_units(tmp_path):
    (tmp_path / "take 1.wav").touch()
    before = transcript()
    row = UnitTranscript(id=before.id, duration_s=before.duration_s, units=before.units, audio=tmp_path / "take 1.wav")
    path = write(tmp_path / "take 1.eaf", "eaf", row)
    elan = pympi.Elan.Eaf(str(path))
    assert list(elan.get_tier_names()) == ["units"]
    labels = sorted(elan.get_annotation_data_for_tier("units"))
    (expected,) = read_transcripts(write(tmp_path / "a.jsonl", "jsonl", before), "jsonl")
    runs = re.findall(r'"unit": (\d+)', to_json(expected))
    assert [label for _, _, label in labels] == runs
    assert labels[0][0] == 0
    assert labels[-1][1] == round(1000 * before.duration_s)
    assert all(end == start for (_, end, _), (start, _, _) in itertools.pairwise(labels))
    (media,) = elan.get_linked_files()
    assert media["MEDIA_URL"] == (tmp_path / "take 1.wav").resolve().as_uri()
    elan.to_file(str(tmp_path / "again.eaf"))
    (after,) = read_transcripts(tmp_path / "again.eaf", "eaf")
    assert after.units.tolist() == before.units.tolist()


def test_elan_and_ctm_hold_pieces(tmp_path):
    model = Pseudotext.fit([list(range(30)) * 3] * 20, 30, pieces=60)
    before = transcript()
    path = write(tmp_path / "a.eaf", "eaf", before, pseudotext=model)
    elan = pympi.Elan.Eaf(str(path))
    pieces = [label for _, _, label in sorted(elan.get_annotation_data_for_tier("pieces"))]
    runs = [label for _, _, label in sorted(elan.get_annotation_data_for_tier("units"))]
    assert [str(unit) for unit in model.decode(pieces)] == runs
    lines = FORMATS["ctm"].write(before, pseudotext=model).split("\n")
    assert [line.split()[4] for line in lines] == pieces


@pytest.mark.parametrize("first", TIMED)
@pytest.mark.parametrize("second", TIMED)
def test_converting_there_and_back_loses_nothing(tmp_path, first, second):
    rows = [transcript(f"sub/take {index}", 20_000 + 3_333 * index, index, margins=False) for index in range(3)]
    for row in rows:
        write(tmp_path / "in" / f"{row.id}{FORMATS[first].suffix}", first, row)
    there = convert(tmp_path / "in", tmp_path / "there", second)
    back = convert(tmp_path / "there", tmp_path / "back", first)
    assert (there.transcripts, back.transcripts, there.lost, back.lost) == (3, 3, [], [])
    for row in rows:
        name = f"{row.id}{FORMATS[first].suffix}"
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()


def test_what_is_lost_is_named(tmp_path):
    rows = [transcript("a"), transcript("b", 9_999)]
    source = write(tmp_path / "all.jsonl", "jsonl", *rows)
    lost = {form: " ".join(convert(source, tmp_path / form, form).lost) for form in FORMATS}
    assert lost["jsonl"] == lost["ctm"] == ""
    assert lost["textgrid"] == lost["eaf"] == "the margins to the second-nearest centroid"
    assert "how long each unit is" in lost["text"]
    assert "last frame" in lost["text"]
    assert "names" in lost["km"]
    assert "how long each unit" not in lost["km"]
    assert "how long each unit" not in " ".join(convert(source, tmp_path / "f", "text", frames=True).lost)
    assert "last frame" in lost["textless"]


def test_several_recordings_share_a_file(tmp_path):
    rows = [transcript("a"), transcript("b", 9_999)]
    source = write(tmp_path / "all.jsonl", "jsonl", *rows)
    for form in ("ctm", "text", "km", "textless", "jsonl"):
        out = tmp_path / f"out{FORMATS[form].suffix}"
        assert convert(source, out, form, frames=form == "text").written == [out]
        found = read_transcripts(out, form, frames=True)
        assert [row.id for row in found] == (["out-1", "out-2"] if form == "km" else ["a", "b"])
        assert [row.units.tolist() for row in found] == [row.units.tolist() for row in rows]
        assert all(frame_count(round(row.duration_s * 16_000)) == len(row.units) for row in found)
    with pytest.raises(UsageError, match="holds one recording, but there are 2"):
        convert(source, tmp_path / "all.eaf", "eaf")


def test_textless_files_are_what_textlesslib_writes(tmp_path):
    row = UnitTranscript(id="a", duration_s=0.0875, units=np.array([5, 5, 9, 5]))
    source = write(tmp_path / "a.jsonl", "jsonl", row)
    convert(source, tmp_path / "out.units", "textless")
    assert (tmp_path / "out.units").read_text() == "a\t5 9 5\n"
    assert (tmp_path / "out.durations").read_text() == "a\t2 1 1\n"
    assert to_durations(row, frames=True) == "a\t1 1 1 1"
    (found,) = read_transcripts(tmp_path / "out.units", "textless")
    assert found.units.tolist() == [5, 5, 9, 5]
    (tmp_path / "out.durations").write_text("a\t2 1\n")
    with pytest.raises(InputRefused, match="must hold 3 numbers"):
        read_transcripts(tmp_path / "out.units", "textless")
    (tmp_path / "out.durations").write_text("a\t2 1 1\nb\t1\n")
    with pytest.raises(InputRefused, match="must have 1 lines, but has 2"):
        read_transcripts(tmp_path / "out.units", "textless")
    (tmp_path / "out.durations").unlink()
    assert not read_transcripts(tmp_path / "out.units", "textless")[0].timed


def test_merged_text_has_no_times_to_convert(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\n")
    report = convert(tmp_path / "a.txt", tmp_path / "out", "ctm")
    assert report.transcripts == 0
    assert "--frames" in report.refused[0][1]
    assert convert(tmp_path / "a.txt", tmp_path / "out", "ctm", frames=True).transcripts == 1
    assert convert(tmp_path / "a.txt", tmp_path / "out", "textless").refused == []
    assert (tmp_path / "out" / "a.units").read_text() == "a\t1 2 3\n"
    assert not (tmp_path / "out" / "a.durations").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.ctm", "a 1 0 x 5\n", "line 1: must be name, channel"),
        ("a.ctm", "a 1 0\n", "line 1: must be name, channel"),
        ("a.ctm", "a 1 0 1 five\n", "whole numbers"),
        ("a.ctm", "a 1 0.1 0.4 5\n", "meet at edges"),
        ("a.jsonl", "{}\n", "line 1: a line of JSON must hold id, .*, but 'runs' is missing$"),
        ("a.jsonl", "", "line 1: a line of JSON must hold id, .*, but is empty$"),
        ("a.jsonl", '{"id": 1,}\n', r"line 1: .*, but is no JSON \([^()]*, at character 10\)$"),
        ("a.jsonl", "[]\n", "line 1: .*, but is no object in braces$"),
        ("a.txt", "1 b\n", "line 1: a line of units"),
        ("a.km", "1 -2\n", "at least 0"),
        ("a.TextGrid", "no grid", "no TextGrid|ends too early"),
        ("a.eaf", "<a>", "no XML"),
        ("a.eaf", "<ANNOTATION_DOCUMENT/>", "the tier 'units' is missing; the file's tiers are none"),
        ("a.eaf", '<ANNOTATION_DOCUMENT><TIER TIER_ID="units"/></ANNOTATION_DOCUMENT>', "must hold the duration"),
        ("a.eaf", '<!DOCTYPE a [<!ENTITY b "c">]><ANNOTATION_DOCUMENT/>', "XML entities"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_bad_transcripts_are_refused_by_name_and_never_stop_the_rest(tmp_path, name, text, said):
    form = name.split(".")[1]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    frames = form == "txt"
    good = next(key for key, value in FORMATS.items() if value.suffix == f".{form}")
    write(folder / f"z.{form}", good, transcript("z"), frames=frames)
    report = convert(folder, tmp_path / "out", "jsonl", frames=frames)
    assert report.transcripts == 1
    ((shown, reason),) = report.refused
    assert name in shown
    assert re.search(said, reason)


def test_wrong_requests_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        convert(tmp_path / "none", tmp_path / "out", "ctm")
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="holds none"):
        convert(tmp_path / "in", tmp_path / "out", "ctm")
    write(tmp_path / "in" / "a.jsonl", "jsonl", transcript("a"))
    write(tmp_path / "in" / "a.ctm", "ctm", transcript("a"))
    with pytest.raises(UsageError, match=r"several formats \(ctm, jsonl\)"):
        convert(tmp_path / "in", tmp_path / "out", "text")
    assert convert(tmp_path / "in", tmp_path / "out", "text", source_form="ctm").transcripts == 1
    (tmp_path / "a.xyz").touch()
    with pytest.raises(UsageError, match="must end in one of"):
        convert(tmp_path / "a.xyz", tmp_path / "out", "ctm")
    with pytest.raises(UsageError, match="the format must be one of"):
        convert(tmp_path / "in", tmp_path / "out", "midi")
    twice = write(tmp_path / "c.jsonl", "jsonl", transcript("c"), transcript("c"))
    assert "two transcripts are named" in convert(twice, tmp_path / "out", "ctm").refused[0][1]
    gone = convert(tmp_path / "in" / "a.jsonl", tmp_path / "out", "eaf")
    assert gone.transcripts == 1


def test_praat_opens_what_was_converted(tmp_path):
    before = transcript("a")
    convert(write(tmp_path / "a.jsonl", "jsonl", before), tmp_path / "out", "textgrid")
    grid = textgrid.openTextgrid(str(tmp_path / "out" / "a.TextGrid"), includeEmptyIntervals=True)
    assert grid.maxTimestamp == before.duration_s
    for short in ("short_textgrid", "long_textgrid"):
        grid.save(str(tmp_path / f"{short}.TextGrid"), short, includeBlankSpaces=True)
        (after,) = read_transcripts(tmp_path / f"{short}.TextGrid", "textgrid")
        assert after.units.tolist() == before.units.tolist()


@pytest.mark.parametrize("form", ["text", "jsonl", "ctm", "textgrid", "eaf"])
def test_pieces_are_written_as_transcribe_writes_them(tmp_path, form):
    model, before = Pseudotext.fit([[1, 2, 3] * 20, list(range(30)) * 3], 30, pieces=60), transcript()
    source = write(tmp_path / "take 1.jsonl", "jsonl", before)
    convert(source, tmp_path / "out", form, pseudotext=model)
    written = (tmp_path / "out" / f"take 1{FORMATS[form].suffix}").read_text("utf-8").removesuffix("\n")
    expected = FORMATS[form].write(before, pseudotext=model).removesuffix("\n")
    # An .eaf holds the time of its making.
    assert re.sub(r'DATE="[^"]*"', "", written) == re.sub(r'DATE="[^"]*"', "", expected)


def test_formats_of_units_alone_hold_no_pieces(tmp_path):
    source = write(tmp_path / "take 1.jsonl", "jsonl", transcript())
    with pytest.raises(UsageError, match="km holds units, not pieces"):
        convert(source, tmp_path / "o.km", "km", pseudotext=Pseudotext.fit([[1, 2] * 9], 30, pieces=33))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "1 {}"),
        ("a.km", "1 {}"),
        ("a.units", "a\t1 {}"),
        ("a.ctm", "a 1 0 0.025 {}"),
        ("a.jsonl", '{{"id": "a", "duration_s": 0.025, "runs": [{{"unit": {}, "frames": 1}}]}}'),
        ("a.TextGrid", '"ooTextFile" "TextGrid" 0 0.025 <exists> 1 "IntervalTier" "units" 0 0.025 1 0 0.025 "{}"'),
    ],
)
@pytest.mark.parametrize("digits", [23, 5_000])
def test_units_that_no_number_holds_are_refused(tmp_path, name, text, digits):
    (tmp_path / name).write_text(text.format("9" * digits) + "\n")
    report = convert(tmp_path / name, tmp_path / "out.txt", "text")
    assert len(report.refused) == 1
    assert not report.written


def test_a_name_that_leads_out_of_the_folder_is_refused_and_the_rest_written(tmp_path):
    path = write(tmp_path / "a.jsonl", "jsonl", transcript("../b"), transcript("c" * 254), transcript("d"))
    report = convert(path, tmp_path / "out", "text")
    assert [reason.partition(";")[0].split()[-1] for _, reason in report.refused] == [str(tmp_path / "out"), "bytes)"]
    assert [path.name for path in report.written] == ["d.txt"]


def test_what_is_there_already_is_written_over_only_if_asked(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.jsonl", "jsonl", transcript(name, margins=False))
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.TextGrid").write_text("somebody's own")
    with pytest.raises(UsageError, match=r"there already \(1, first .*b\.TextGrid\): somebody's own\? .*--overwrite"):
        convert(tmp_path / "in", out, "textgrid")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"b.TextGrid": "somebody's own"}
    one = tmp_path / "b.TextGrid"
    one.write_text("somebody's own")
    command = ["convert", str(tmp_path / "in" / "b.jsonl"), "--format", "textgrid", "-o", str(one)]
    assert main(command) == 2
    assert one.read_text() == "somebody's own"
    assert main([*command, "--overwrite"]) == 0
    assert read_transcripts(one, "textgrid")[0].id == "b"
    (out / "b.durations").write_text("1 2 3")
    with pytest.raises(UsageError, match=r"first .*b\.durations"):
        convert(tmp_path / "in", out, "textless")
    assert convert(tmp_path / "in", out, "textgrid", overwrite=True).transcripts == 2


def test_units_beside_recordings_are_no_transcripts(tmp_path, capsys):
    """Each run adds to what it is remembered to have written, and what somebody wrote stays theirs."""
    out = tmp_path / "recordings"
    for name in ("a", "b", "c"):
        out.mkdir(exist_ok=True)
        soundfile.write(out / f"{name}.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    for name in ("a", "b"):
        source = write(tmp_path / f"{name}.jsonl", "jsonl", transcript(name, margins=False))
        assert main(["convert", str(source), "--format", "text", "-o", str(out)]) == 0
    (out / "c.txt").write_text("somebody's own")
    assert read_json(out / "convert.json")["texts"] == ["a.txt", "b.txt"]
    capsys.readouterr()
    make_manifest(out, tmp_path / "m.tsv", ImportOptions())
    assert [row.text for row in read_manifest(tmp_path / "m.tsv")] == [None, None, "somebody's own"]
    assert "2 texts here are not taken for transcripts, since `speechunits convert` wrote" in capsys.readouterr().err


def test_a_bad_recording_is_refused_and_the_rest_of_the_file_written(tmp_path):
    model = Pseudotext.fit([[1, 2, 3] * 20, list(range(12)) * 3], 12, pieces=30)
    rows = [f"r{index}\t1 2 3" for index in range(10)]
    rows[7] = "r7\t1 99 3"
    (tmp_path / "all.txt").write_text("\n".join(rows) + "\n")
    report = convert(tmp_path / "all.txt", tmp_path / "out.txt", "text", pseudotext=model)
    assert [name for name, _ in report.refused] == ["r7"]
    assert "one is 99" in report.refused[0][1]
    assert report.transcripts == 9
    kept = (tmp_path / "out.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in kept] == [f"r{index}" for index in range(10) if index != 7]


def test_durations_of_other_units_do_not_stay(tmp_path):
    out = tmp_path / "o.units"
    convert(write(tmp_path / "timed.jsonl", "jsonl", transcript("t", margins=False)), out, "textless")
    assert out.with_suffix(".durations").exists()
    (tmp_path / "merged.txt").write_text("t\t5 6 7\n")
    convert(tmp_path / "merged.txt", out, "textless", overwrite=True)
    assert not out.with_suffix(".durations").exists()
    (found,) = read_transcripts(out, "textless")
    assert (found.units.tolist(), found.timed) == ([5, 6, 7], False)


def test_a_name_that_no_line_can_hold_is_refused(tmp_path):
    source = write(tmp_path / "a.jsonl", "jsonl", transcript("a\tb"), transcript("c"))
    report = convert(source, tmp_path / "o.txt", "text")
    assert (report.transcripts, len(report.refused)) == (1, 1)
    assert "tab or a newline" in report.refused[0][1]
    assert convert(source, tmp_path / "o.jsonl", "jsonl").transcripts == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"duration_s": float("nan")}, "nan s have another number of frames"),
        ({"duration_s": float("inf")}, "inf s have another number of frames"),
        ({"duration_s": -1.0}, "-1 s have another number of frames"),
        ({"duration_s": 0.5}, "0.5 s have another number of frames than the 249"),
        ({"runs": [{"unit": -5, "frames": 249}]}, "at least 0, but one is -5"),
    ],
)
def test_json_that_no_recording_has_is_refused(change, said):
    value = json.loads(to_json(transcript(margins=False)))
    with pytest.raises(InputRefused, match=said):
        from_json(json.dumps({**value, **change}))


def test_an_elan_duration_that_is_none_is_refused(tmp_path):
    source = write(tmp_path / "a.eaf", "eaf", transcript("a"))
    source.write_text(re.sub(r'(NAME="speechunits:duration_s">)[^<]*', r"\g<1>nan", source.read_text()))
    report = convert(source, tmp_path / "o.jsonl", "jsonl")
    assert "the duration must be a finite number of seconds, but is nan instead" in report.refused[0][1]


def test_names_in_a_folder_are_those_that_are_written_or_the_places_of_the_files(tmp_path):
    for name, text in (("all.txt", "spk1/utt7\t1 2 3\n"), ("a/x.txt", "1 2\n3 4\n"), ("b/x.txt", "5\n6\n")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    report = convert(tmp_path / "in", tmp_path / "o.txt", "text")
    assert report.refused == []
    written = dict(line.split("\t") for line in (tmp_path / "o.txt").read_text().splitlines())
    assert written == {"spk1/utt7": "1 2 3", "a/x-1": "1 2", "a/x-2": "3 4", "b/x-1": "5", "b/x-2": "6"}
