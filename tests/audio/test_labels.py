"""Tiers of ELAN and Praat files become rows; what is wrong with them is named."""

import numpy as np
import pympi
import pytest
import soundfile
from praatio import textgrid
from praatio.utilities.constants import Interval

from speechunits.audio.annotation import read_annotations
from speechunits.audio.labels import labelled
from speechunits.audio.scan import scan
from speechunits.errors import InputRefused, UsageError

ROWS = [(100, 900, "dɔ̀ŋ  ba"), (1_000, 1_500, 'say "x"'), (1_600, 2_100, "é & <ü>")]


def elan(path, rows=ROWS, tier="words"):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pympi.Elan.Eaf()
    made.add_tier(tier)
    for row in rows:
        made.add_annotation(tier, *row)
    made.add_linguistic_type("gloss", "Symbolic_Association", timealignable=False)
    made.add_tier("gloss", "gloss", parent=tier)
    for start, _, _ in rows:
        made.add_ref_annotation("gloss", tier, start + 1, f"g{start}")
    made.remove_tier("default")
    made.to_file(str(path))
    return path


def praat(path, rows=ROWS, form="long_textgrid"):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = textgrid.Textgrid()
    entries = [Interval(start / 1000, end / 1000, text) for start, end, text in rows]
    grid.addTier(textgrid.IntervalTier("words", entries, 0, 2.5))
    grid.addTier(textgrid.PointTier("clicks", [(0.3, "!")], 0, 2.5))
    grid.save(str(path), form, includeBlankSpaces=True)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "sub/b.flac"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, np.random.default_rng(0).normal(0, 0.1, 40_000), 16_000)
    return tmp_path / "in"


def found(folder, labels, tier="words"):
    return labelled(scan(folder).recordings, folder, labels, tier)


def test_a_tier_of_points_is_told_from_one_that_is_missing(tmp_path):
    file = read_annotations(praat(tmp_path / "a.TextGrid"))
    with pytest.raises(InputRefused, match=r"the tier 'clicks' is one of points, .* \(here: 'words'\)"):
        file.tier("clicks")
    with pytest.raises(InputRefused, match="'wrods' is missing; the file's tiers are 'words', and of points 'clicks'"):
        file.tier("wrods")


def test_tiers_become_rows(folder, tmp_path):
    elan(tmp_path / "labels" / "a.eaf")
    praat(tmp_path / "labels" / "sub" / "b.TextGrid")
    rows, refusals, warnings = found(folder, tmp_path / "labels")
    assert refusals == []
    assert [(row.start_s, row.end_s) for row in rows] == [(0.1, 0.9), (1.0, 1.5), (1.6, 2.1)] * 2
    assert [row.text for row in rows[:3]] == ["dɔ̀ŋ ba", 'say "x"', "é & <ü>"]
    assert [row.text for row in rows[3:]] == [row.text for row in rows[:3]]
    assert [row.id for row in rows[:1]] == ["a-0000100-0000900"]
    assert rows[0].duration_s == pytest.approx(0.8)
    assert len(warnings) == 1
    assert "b.TextGrid: 4 empty annotations are left out, the first at 0-0.1 s" in warnings[0]


def test_labels_may_lie_flat_and_be_missing(folder, tmp_path):
    praat(tmp_path / "labels" / "b.TextGrid")
    rows, refusals, warnings = found(folder, tmp_path / "labels")
    assert (rows[0].id, rows[0].start_s, len(rows), refusals) == ("a", None, 4, [])
    assert "1 of 2 recordings have no annotation file" in warnings[-1]


def test_annotations_that_refer_to_others_have_their_times(folder, tmp_path):
    elan(tmp_path / "labels" / "a.eaf")
    rows, _, _ = found(folder, tmp_path / "labels", "gloss")
    assert [(row.start_s, row.end_s, row.text) for row in rows[:-1]] == [
        (0.1, 0.9, "g100"), (1.0, 1.5, "g1000"), (1.6, 2.1, "g1600"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["short_textgrid", "long_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_praats_encodings_and_forms(tmp_path, form, encoding):
    path = praat(tmp_path / "a.TextGrid", form=form)
    path.write_text(path.read_text("utf-8"), encoding)
    file = read_annotations(path)
    assert list(file.tiers) == ["words"]
    assert [row for row in file.tiers["words"] if row.text] == [(s / 1000, e / 1000, text) for s, e, text in ROWS]
    assert file.duration_s == 2.5


def test_slots_without_times_lie_between_their_neighbours(tmp_path):
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{i}"{value}/>'
        for i, value in enumerate([' TIME_VALUE="1000"', "", "", ' TIME_VALUE="4000"'])
    )
    rows = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{i}" TIME_SLOT_REF1="t{i}" TIME_SLOT_REF2="t{i + 1}">'
        f"<ANNOTATION_VALUE>{i}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for i in range(3)
    )
    (tmp_path / "a.eaf").write_text(
        f'<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID="w">{rows}</TIER></ANNOTATION_DOCUMENT>'
    )
    assert read_annotations(tmp_path / "a.eaf").tier("w") == [(1, 2, "0"), (2, 3, "1"), (3, 4, "2")]


def subdivided(order="abc"):
    """Return an ELAN file whose words share the time of their sentence, written down in another order than spoken."""
    words = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="s"{before}>'
        f"<ANNOTATION_VALUE>{name}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for name, before in (
            ("c", f' PREVIOUS_ANNOTATION="{order[1]}"'), ("a", ""), ("b", f' PREVIOUS_ANNOTATION="{order[0]}"'),
        )
    )  # fmt: skip
    gloss = '<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="g" ANNOTATION_REF="b"/></ANNOTATION>'
    return (
        '<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="500"/>'
        '<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="2000"/></TIME_ORDER><TIER TIER_ID="sentence"><ANNOTATION>'
        '<ALIGNABLE_ANNOTATION ANNOTATION_ID="s" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"/></ANNOTATION></TIER>'
        f'<TIER TIER_ID="words">{words}</TIER><TIER TIER_ID="gloss">{gloss}</TIER></ANNOTATION_DOCUMENT>'
    )


def test_words_of_a_sentence_share_its_time_in_order(folder, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.eaf").write_text(subdivided())
    rows, refusals, _ = found(folder, tmp_path / "labels")
    assert refusals == []
    assert [(row.start_s, row.end_s, row.text) for row in rows[:-1]] == [
        (0.5, 1.0, "a"), (1.0, 1.5, "b"), (1.5, 2.0, "c"),
    ]  # fmt: skip
    assert read_annotations(tmp_path / "labels" / "a.eaf").tier("gloss") == [(1.0, 1.5, "")]
    (tmp_path / "labels" / "a.eaf").write_text(subdivided("cb"))
    _, (refusal,), _ = found(folder, tmp_path / "labels")
    assert "refer to what is not there" in refusal


def test_tiers_of_one_name_cannot_be_told_apart(tmp_path):
    tier = '"IntervalTier" "{}" 0 1 1 0 1 "x" '
    (tmp_path / "a.TextGrid").write_text(
        '"ooTextFile short" "TextGrid" 0 1 <exists> 3 ' + "".join(tier.format(name) for name in "wvw")
    )
    (tmp_path / "a.eaf").write_text(
        "<ANNOTATION_DOCUMENT>" + "".join(f'<TIER TIER_ID="{name}"/>' for name in "wvw") + "</ANNOTATION_DOCUMENT>"
    )
    for name, rows in (("a.TextGrid", [(0, 1, "x")]), ("a.eaf", [])):
        file = read_annotations(tmp_path / name)
        assert file.tier("v") == rows
        with pytest.raises(InputRefused, match="more than one tier is named 'w'"):
            file.tier("w")


def test_a_flat_file_is_of_the_only_recording_of_its_name(tmp_path):
    for name in ("x/take.wav", "y/take.wav", "y/other.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, np.random.default_rng(0).normal(0, 0.1, 40_000), 16_000)
    praat(tmp_path / "labels" / "take.TextGrid")
    praat(tmp_path / "labels" / "other.textgrid")
    rows, _, warnings = found(tmp_path / "in", tmp_path / "labels")
    assert [row.audio.stem for row in rows if row.text] == ["other"] * 3
    assert sum("2 recordings have this name" in warning for warning in warnings) == 2


def test_a_missing_tier_names_those_that_are_there(folder, tmp_path):
    elan(tmp_path / "labels" / "a.eaf")
    praat(tmp_path / "labels" / "sub" / "b.TextGrid")
    rows, refusals, _ = found(folder, tmp_path / "labels", "wrods")
    assert [(row.id, row.text) for row in rows] == [("a", None), ("b", None)]
    assert "a.eaf: the tier 'wrods' is missing; the file's tiers are 'words', 'gloss'" in refusals[0]
    assert "b.TextGrid" in refusals[1]
    assert len(refusals) == 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([(800, 1_200, "over")], "0.8-1.2 s overlaps 0.1-0.9 s"),
        ([(2_300, 2_700, "past")], "2.3-2.7 s lies past the recording's end at 2.500 s"),
        ([(2_500, 2_540, "after")], "2.5-2.54 s lasts less than a millisecond of the recording"),
        ([(2_520, 2_540, "behind")], "2.52-2.54 s lasts less than a millisecond of the recording"),
        ([(2_200, 2_300, " ")], None),
    ],
)
def test_bad_annotations_are_named_and_the_rest_taken(folder, tmp_path, bad, said):
    elan(tmp_path / "labels" / "a.eaf", [ROWS[0], *bad, ROWS[2]])
    rows, refusals, warnings = found(folder, tmp_path / "labels")
    assert [row.text for row in rows[:-1]] == ["dɔ̀ŋ ba", "é & <ü>"]
    if said is None:
        assert "1 empty annotations are left out, the first at 2.2-2.3 s" in warnings[0]
    else:
        assert [f"a.eaf: {said}" in refusal for refusal in refusals] == [True]


def test_an_annotation_before_the_recording_is_refused(folder, tmp_path):
    path = praat(tmp_path / "labels" / "a.TextGrid", [(100, 900, "early"), (1_000, 1_500, "fine")])
    text = path.read_text()
    assert text.count("xmin = 0.1 ") == 1
    path.write_text(text.replace("xmin = 0.1 ", "xmin = -0.1 "))
    rows, refusals, _ = found(folder, tmp_path / "labels")
    assert [row.text for row in rows if row.text] == ["fine"]
    assert ["-0.1-0.9 s begins before the recording does" in refusal for refusal in refusals] == [True]


def reference(to):
    """Return an ELAN file whose annotation ``a`` refers to another."""
    row = f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a" ANNOTATION_REF="{to}"/></ANNOTATION>'
    return f'<ANNOTATION_DOCUMENT><TIER TIER_ID="words">{row}</TIER></ANNOTATION_DOCUMENT>'.encode()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.eaf", b"<a", "no XML"),
        ("a.eaf", b"<html/>", "ANNOTATION_DOCUMENT, but is html"),
        ("a.eaf", b'<!DOCTYPE x><ANNOTATION_DOCUMENT/>', "XML entities"),
        ("a.eaf", reference("b"), "what is not there"),
        ("a.eaf", reference("a"), "in a circle"),
        ("a.TextGrid", b"hello", "ends too early"),
        ("a.TextGrid", b'"ooTextFile" "PitchTier" 0 1 ', "another kind of file"),
        ("a.TextGrid", b'"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "words" 0 1 2 0 1 "x"', "truncated"),
        ("a.TextGrid", b'"ooTextFile" "TextGrid" 0 1 <exists> 1 "Tier" "words" 0 1 2 0 1 "x"', "must be an Interval"),
        ("a.TextGrid", b"\xe9\xe8", "neither UTF-8 nor UTF-16"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(folder, tmp_path, name, data, said):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / name).write_bytes(data)
    rows, (refusal,), _ = found(folder, tmp_path / "labels")
    # The recording is still one.
    assert [(row.id, row.text, row.start_s) for row in rows] == [("a", None, None), ("b", None, None)]
    assert said in refusal


def test_files_that_are_not_read_are_named(folder, tmp_path):
    labels = tmp_path / "labels"
    elan(labels / "a.eaf")
    praat(labels / "a.TextGrid")
    praat(labels / "B.TextGrid")
    praat(labels / "elsewhere" / "c.TextGrid")
    elan(labels / ".old" / "a.eaf")
    rows, _, warnings = found(folder, labels)
    assert [row.text for row in rows][-2:] == ["é & <ü>", None]
    one, two = warnings[-2:]
    assert "1 .eaf or .TextGrid files are not read, since another one of their name is" in one
    assert "the first is a.TextGrid (a.eaf is read)" in one
    assert "2 .eaf or .TextGrid files are not read, since they have no recording's name, or not its folder" in two
    assert "the first is B.TextGrid (B.TextGrid: is it of " in two


def test_recordings_that_have_a_text_are_not_without(folder, tmp_path):
    elan(tmp_path / "labels" / "a.eaf")
    (folder / "sub" / "b.txt").write_text("a text")
    rows, _, warnings = found(folder, tmp_path / "labels")
    assert rows[-1].text == "a text"
    assert warnings == []


def test_nothing_to_label_with(folder, tmp_path):
    with pytest.raises(UsageError, match="must be a folder of"):
        found(folder, tmp_path / "none")
    (tmp_path / "labels").mkdir()
    with pytest.raises(UsageError, match="named like any recording"):
        found(folder, tmp_path / "labels")
    with pytest.raises(InputRefused, match="must be one of"):
        read_annotations(tmp_path / "a.pdf")


def grid(path, start_s, end_s):
    rows = f'{start_s} {start_s + 1} "one" {start_s + 1} {end_s} "two"'
    path.write_text(
        f'"ooTextFile" "TextGrid" {start_s} {end_s} <exists> 1 "IntervalTier" "words" {start_s} {end_s} 2 {rows}'
    )


def test_a_grid_that_keeps_the_times_of_a_longer_recording_is_shifted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000 * 3), 16_000)
    grid(tmp_path / "a.TextGrid", 10.5, 13.5)
    rows, refusals, warnings = found(tmp_path, tmp_path)
    assert [(row.text, row.start_s, row.end_s) for row in rows] == [("one", 0, 1), ("two", 1, 3)]
    assert (refusals, warnings) == ([], [])
    # It ends where the recording does: the times are its own.
    grid(tmp_path / "a.TextGrid", 0.5, 3)
    rows, refusals, warnings = found(tmp_path, tmp_path)
    assert [(row.text, row.start_s, row.end_s) for row in rows] == [("one", 0.5, 1.5), ("two", 1.5, 3)]
    assert "a.TextGrid: its times go from 0.5 s to 3 s, but the recording lasts 3.000 s; they are taken" in warnings[0]
    # As long as neither: another recording's, which the annotations past the end say too.
    grid(tmp_path / "a.TextGrid", 10, 14)
    _, refusals, warnings = found(tmp_path, tmp_path)
    assert (len(refusals), len(warnings)) == (2, 2)
    assert "holds no annotation to use" in warnings[1]


def test_an_origin_in_elan_is_named_and_not_guessed_at(tmp_path):
    soundfile.write(tmp_path / "a b.wav", np.zeros(16_000 * 3), 16_000)
    elan(tmp_path / "a b.eaf")
    plain = found(tmp_path, tmp_path)
    text = (tmp_path / "a b.eaf").read_text()
    head = text[: text.index("<HEADER")] + '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">'
    tail = text[text.index("<TIME_ORDER") :]
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/{}" MIME_TYPE="audio/x-wav" TIME_ORIGIN="{}" />'

    def said(*descriptors):
        (tmp_path / "a b.eaf").write_text(
            head + "".join(media.format(*own) for own in descriptors) + "</HEADER>" + tail
        )
        rows, _, warnings = found(tmp_path, tmp_path)
        assert rows == plain[0]
        return warnings

    assert said(("a%20b.wav", 0), ("film.mp4", 700)) == []
    assert said(("a%20b.wav", "soon"), ("film.mp4", "")) == []
    (warning,) = said(("a%20b.wav", -2500), ("film.mp4", 700))
    assert warning.startswith("a b.eaf: a b.wav has an origin of -2.5 s (TIME_ORIGIN), which is not counted in")
    (warning,) = said(("film.mp4", 700))
    assert warning.startswith("a b.eaf: film.mp4 has an origin of 0.7 s")


def test_a_recording_without_annotations_yet_stays(folder, tmp_path):
    elan(tmp_path / "labels" / "a.eaf", [])
    praat(tmp_path / "labels" / "sub" / "b.TextGrid")
    rows, refusals, warnings = found(folder, tmp_path / "labels")
    assert [(row.id, row.text) for row in rows[:1]] == [("a", None)]
    assert len(rows) > 1
    assert refusals == []
    assert "a.eaf: its tier holds no annotation to use; the recording stays whole, as it was" in warnings
