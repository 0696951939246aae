from pathlib import Path

import numpy as np

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.evaluation.probe.examples import draw, fit_recordings, phone_examples, speaker_examples, word_examples
from speechunits.evaluation.probe.topline import context_frames

TAKES = [Recording(id=f"r{n}", audio=Path("r.wav"), duration_s=1.0, speaker="ab"[n % 2]) for n in range(20)]
PHONES = {"r0": [Phone(0, 0.1, "SIL"), Phone(0.1, 0.2, "k"), Phone(0.2, 0.3, "UNK"), Phone(0.3, 0.4, "a")]}


def test_frames_carry_phone_and_speaker_and_no_silence():
    examples = phone_examples(TAKES, PHONES)
    assert examples.names == ("a", "k")
    assert set(examples.owners.tolist()) == {0}
    assert examples.firsts[examples.labels == 1].tolist() == [5, 6, 7, 8, 9]  # centres .1125 … .1925 s
    assert (examples.afters - examples.firsts == 1).all()
    speakers = speaker_examples(TAKES[:2], PHONES)
    assert np.bincount(speakers.owners).tolist() == [10, 49]  # no phones are known of the second: every frame
    assert speakers.names == ("a", "b")


def test_words_are_stretches_heard_often_enough():
    words = {take.id: [Phone(0, 0.2, "ba"), Phone(0.2, 0.5, "di"), Phone(0.5, 0.6, "SIL")] for take in TAKES[:6]}
    words["r6"] = [Phone(0, 0.2, "ba"), Phone(0.2, 0.5, "rare")]
    examples = word_examples(TAKES, words)
    assert examples.names == ("ba", "di")
    assert np.bincount(examples.labels).tolist() == [7, 6]
    assert (examples.firsts[0], examples.afters[0]) == (0, 10)
    assert word_examples(TAKES, words, most=1).names == ("ba",)
    assert len(word_examples(TAKES, {}).labels) == 0


def test_recordings_are_divided_within_each_speaker_by_seed():
    sides = [fit_recordings(TAKES, 0.7, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(sides[0], sides[1])
    assert (sides[0] != sides[2]).any()
    assert sides[0][::2].sum() == sides[0][1::2].sum() == 7


def test_a_draw_is_bounded_and_seeded():
    candidates = np.arange(50) % 2 == 0
    places = draw(candidates, 10, 3)
    assert len(set(places.tolist())) == 10
    assert candidates[places].all()
    np.testing.assert_array_equal(places, draw(candidates, 10, 3))
    assert len(draw(candidates, 1000, 0)) == 25


def test_context_is_a_neighbourhood_or_spread_over_a_word():
    frames = np.arange(30, dtype=np.float32)[:, None]
    assert context_frames(frames, 10, 11).tolist() == list(range(5, 16))
    assert context_frames(frames, 0, 1).tolist() == [0] * 6 + [1, 2, 3, 4, 5]
    assert context_frames(frames, 5, 26).tolist() == list(range(5, 26, 2))
