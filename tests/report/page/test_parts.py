"""The parts of the page whose answers are known: marks, counts, examples, flattened tables, media."""

import base64
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechunits.asr.tokens import normalize
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.report.page.listening import choose
from speechunits.report.page.marking import error_rate, letter_errors, marked
from speechunits.report.page.measures import measure_table
from speechunits.report.page.media import flac_address, spectrogram_address
from speechunits.report.page.study import Occurrence, Study, spread


def recording(name, seconds=2.0, text="abcd"):
    return Recording(id=name, audio=f"{name}.wav", duration_s=seconds, text=text)


@given(st.text("abc ", max_size=12), st.text("abc ", max_size=12))
def test_spans_make_up_both_texts(reference, hypothesis):
    for spaced in (False, True):
        spans = marked(reference, hypothesis, spaced=spaced)
        assert normalize("".join(span.text for span in spans if span.kind != "wrong")) == normalize(reference)
        assert normalize("".join(span.text for span in spans if span.kind != "missing")) == normalize(hypothesis)


def test_marks_and_counts_of_errors():
    assert [(span.kind, span.text) for span in marked("kasa o", "kaza")] == [
        ("same", "ka"), ("missing", "s"), ("wrong", "z"), ("same", "a"), ("missing", " o")]  # fmt: skip
    # Composed or not, it is the same letter.
    assert [span.kind for span in marked("e\u0301", "é")] == ["same"]
    counts = letter_errors([("kasa", "kaza"), ("sa", "za"), ("a", "ab"), ("ab", "a")])
    assert counts == {("s", "z"): 2, ("", "b"): 1, ("b", ""): 1}
    assert error_rate("ab  c", "ab d") == 1 / 4
    assert error_rate("", "a") is None


def test_phones_are_marked_and_counted_whole():
    assert [(span.kind, span.text) for span in marked("tʃ a b", "t a", spaced=True)] == [
        ("missing", "tʃ "), ("wrong", "t "), ("same", "a "), ("missing", "b ")]  # fmt: skip
    assert letter_errors([("tʃ a b", "t a")], spaced=True) == {("tʃ", "t"): 1, ("b", ""): 1}
    assert error_rate("tʃ a b", "t a", spaced=True) == pytest.approx(2 / 3)


def made_study():
    """Return three units over two recordings of 20 frames: 0 is all a, 1 half a and half b, 2 silence."""
    study = Study(clusters=4, recordings=[recording("x", 0.405), recording("y", 0.405)])
    study.units = {"x": np.array([0] * 8 + [1] * 4 + [2] * 8), "y": np.array([1] * 4 + [0] * 8 + [2] * 8)}
    study.phones = {
        "x": [Phone(0.0, 0.243, "a"), Phone(0.243, 0.405, "SIL")],
        "y": [Phone(0.0, 0.083, "b"), Phone(0.083, 0.243, "a"), Phone(0.243, 0.3, "UNK")],
    }
    return study


def test_units_and_phones_are_counted():
    study = made_study()
    labels, table = study.table()
    assert labels == ["a", "b", "SIL"]
    assert table.tolist() == [[16, 4, 0, 0], [0, 4, 0, 0], [0, 0, 8, 0]]
    rows = study.rows()
    assert [(row.unit, row.frames) for row in rows] == [(0, 16), (1, 8)]
    assert rows[1].phones == (("a", 0.5), ("b", 0.5))
    assert rows[0].entropy_bits == pytest.approx(0, abs=1e-12)
    assert rows[1].entropy_bits == pytest.approx(1)
    assert rows[1].confusion_bits == pytest.approx(8 / 24)
    places = study.occurrences()
    assert places[1, "b"] == Occurrence(id="y", start_s=0.0, end_s=pytest.approx(0.0825))
    assert places[0, "a"].id == "x", "the first of two that are equally long"
    assert study.unit_durations_s() == pytest.approx([0.16, 0.08, 0.16, 0.08, 0.16, 0.16])
    assert study.phone_durations_s() == pytest.approx([0.243, 0.083, 0.16])


def test_rows_go_from_best_to_worst_and_long_ones_are_the_last_resort():
    held = [recording(str(index)) for index in range(9)]
    hypotheses = {str(index): "abcd"[: index % 5] for index in range(9)}
    chosen = choose(held, hypotheses, 3)
    assert [hypotheses[row.id] for row in chosen] == ["abcd", "ab", ""]
    assert choose(held, {}, 3) == [held[0], held[4], held[8]]
    assert choose([recording("long", 60.0), held[0]], {}, 5) == [held[0]]
    assert choose([recording("long", 60.0)], {}, 5)[0].id == "long"
    assert choose(held, {}, 0) == choose([], {}, 3) == []


def test_spread_takes_recordings_from_everywhere():
    held = [recording(str(index), 60.0) for index in range(10)]
    assert spread(held, 100) == held
    assert [row.id for row in spread(held, 5)] == ["0", "2", "4", "6", "8"]


def test_measures_of_any_shape_become_a_table():
    header, rows = measure_table({"units": {"abx": {"within": 0.1, "across": 1}}, "mfcc": {"abx": {"within": 0.25}}})
    assert header == ["measure", "units", "mfcc"]
    assert rows == [["abx: within", "0.1", "0.25"], ["abx: across", "1", "–"]]
    assert measure_table({"key": "k", "measures": [{"name": "u", "error": 0.5}, {"error": None}]}) == (
        ["measure", "u", "2"], [["name", "u", "–"], ["error", "0.5", "–"]])  # fmt: skip
    assert measure_table({"error": 0.123456, "interval": [0.1, 0.2], "curve": [0.0] * 50}) == (
        ["measure", "value"], [["error", "0.1235"], ["interval", "0.1, 0.2"]])  # fmt: skip
    assert measure_table(7) == (["measure", "value"], [["value", "7"]])


def test_sound_comes_back_and_pictures_are_as_wide_as_the_sound_is_long():
    from PIL import Image

    generator = np.random.default_rng(0)
    samples = (0.1 * generator.standard_normal(8000)).astype(np.float32)
    head, _, data = flac_address(samples).partition(",")
    assert head == "data:audio/flac;base64"
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(heard, samples, atol=1 / 32767)
    time = np.arange(8000) / 16000
    tone = np.sin(2 * np.pi * 2000 * time).astype(np.float32) * (time > 0.25)
    for sound, width in ((tone, 100), (samples[:80], 1), (np.zeros(100, np.float32), 1)):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(spectrogram_address(sound).partition(",")[2]))))
        assert picture.shape == (129, width)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(spectrogram_address(tone).partition(",")[2]))))
    assert picture[:, :45].min() > 200, "silence is white"
    # 2 of 8 kHz: a quarter of the height from the bottom.
    assert abs(int(picture[:, 60:].mean(axis=1).argmin()) - 96) <= 2
