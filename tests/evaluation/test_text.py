"""Pseudo-text as text: slopes, candidates and boundaries whose values are known."""

import math

import numpy as np
import pytest

from speechunits.audio.phones import Phone
from speechunits.evaluation.text import Pieces, candidates, piece_counts, piece_segmentation, read_pieces, zipf_slope
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.transcript import Span, UnitTranscript
from tests.reference.text import slope


def pieces(name, labels, width=0.1):
    """Return a recording of pieces, each of whose units lasts ``width`` seconds."""
    units, spans, at = [], [], 0.0
    for label in labels:
        start = at
        for unit in label.split("-"):
            units.append(Span(round(at, 6), round(at + width, 6), unit, None))
            at += width
        spans.append(Span(round(start, 6), round(at, 6), label, None))
    return Pieces(id=name, duration_s=at, units=units, pieces=spans)


def test_zipfs_law_has_slope_minus_one():
    assert zipf_slope([round(100_000 / rank) for rank in range(1, 200)]) == pytest.approx(-1, abs=1e-3)
    counts = [50, 7, 20, 4, 9]
    ranked = sorted((count for count in counts if count >= 5), reverse=True)
    expected = slope([math.log(rank) for rank in (1, 2, 3, 4)], [math.log(count) for count in ranked])
    assert zipf_slope(counts) == pytest.approx(expected)
    assert zipf_slope([7] * 10) == pytest.approx(0, abs=1e-9)
    assert zipf_slope([9, 1]) is None


def test_candidates_are_frequent_and_say_where():
    recordings = [pieces("a", ["1-2", "3", "1-2", "4-5-6"]), pieces("b", ["3", "1-2", "4-5-6", "7-8", "4-5-6"])]
    assert piece_counts(recordings) == {"1-2": 3, "4-5-6": 3, "3": 2, "7-8": 1}
    found = candidates(recordings, count=2, places=2)
    # One unit is no word; of equally frequent pieces the longer comes first.
    assert [row["piece"] for row in found] == ["4-5-6", "1-2"]
    assert (found[1]["count"], found[1]["recordings"], found[1]["mean_duration_s"]) == (3, 2, 0.2)
    assert found[1]["places"] == [
        {"id": "a", "start_s": 0.0, "end_s": 0.2}, {"id": "a", "start_s": 0.3, "end_s": 0.5},
    ]  # fmt: skip
    # Spread over all of them, also where there are fewer than two for each place.
    many = candidates([pieces(f"r{at}", ["1-2"]) for at in range(39)], count=1, places=20)
    assert [place["id"] for place in many[0]["places"]] == [f"r{at * 39 // 20}" for at in range(20)]


def test_pieces_that_are_words_are_found_to_be():
    rng = np.random.default_rng(0)
    lexicon = ["1-2-3", "4-5", "6-7-8-9"]
    recordings = [pieces(str(index), [lexicon[at] for at in rng.integers(0, 3, 40)]) for index in range(5)]
    words = {row.id: [Phone(span.start_s, span.end_s, span.label) for span in row.pieces] for row in recordings}
    found = piece_segmentation(recordings, words)
    assert found["pieces"].f1 == found["pieces"].r_value == 1
    assert found["units"].recall == 1 > found["units"].precision
    assert found["random"].found == found["pieces"].found
    assert found["random"].f1 == pytest.approx(found["units"].precision, abs=0.1)
    assert piece_segmentation(recordings, {})["pieces"].true == 0


def test_pieces_of_a_transcript_cover_it():
    rng = np.random.default_rng(1)
    words = [[0, 1, 2], [3, 4], [5, 6, 7]]
    rows = [np.concatenate([words[at] for at in rng.integers(0, 3, 30)]) for _ in range(40)]
    model = Pseudotext.fit(rows, 8, pieces=14)
    frames = np.repeat(rows[0], 3)
    found = read_pieces(UnitTranscript(id="x", duration_s=len(frames) / 50 + 0.005, units=frames), model)
    assert (found.pieces[0].start_s, found.pieces[-1].end_s) == (0, found.duration_s)
    assert [a.end_s for a in found.pieces[:-1]] == pytest.approx([b.start_s for b in found.pieces[1:]])
    assert "-".join(span.label for span in found.pieces) == "-".join(span.label for span in found.units)
