"""Splits, tune and label lists by the protocol."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechunits.audio.manifest import Recording
from speechunits.audio.split import cut_tune, label_list, split
from speechunits.errors import UsageError
from tests.reference.audio import largest_proportion_error_s


def corpus(durations, speakers=4, texts=10_000, split_name=None):
    return [
        Recording(id=f"r{i:05d}", audio=Path(f"/r{i}.wav"), duration_s=seconds, speaker=f"s{i * 7 % speakers}",
                  split=split_name, text=f"text {i % texts}")
        for i, seconds in enumerate(durations)
    ]  # fmt: skip


rows = st.lists(st.floats(0.5, 15), min_size=3, max_size=120)


def total_s(recordings, name=None):
    return sum(r.duration_s for r in recordings if name is None or r.split == name)


@settings(deadline=None)
@given(durations=rows, speakers=st.integers(1, 12), seed=st.integers(0, 5))
def test_every_recording_is_in_one_split_and_none_is_empty(durations, speakers, seed):
    recordings = corpus(durations, speakers)
    done, warnings = split(recordings, seed)
    assert [replace(r, split=None) for r in done] == recordings
    assert {r.split for r in done} == {"train", "dev", "test"}
    by_speaker = len({r.speaker for r in recordings}) >= 6
    assert bool(warnings) != by_speaker
    if by_speaker:
        assert all(len({r.split for r in done if r.speaker == name}) == 1 for name in {r.speaker for r in done})
    shuffled, _ = split(recordings[::-1], seed)
    assert shuffled == done[::-1]


@pytest.mark.parametrize("speakers", [2, 60])
def test_split_shares(speakers):
    done, _ = split(corpus([1 + i % 7 for i in range(2000)], speakers), 0)
    for name, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
        assert total_s(done, name) / total_s(done) == pytest.approx(share, abs=0.01)
    assert split(corpus([1.0] * 50), 0)[0] != split(corpus([1.0] * 50), 1)[0]


def test_given_splits_are_kept_and_half_given_ones_refused():
    recordings = corpus([1.0] * 5, split_name="dev")
    assert split(recordings, 0) == (recordings, [])
    with pytest.raises(UsageError, match="1 of 5"):
        split([replace(recordings[0], split=None), *recordings[1:]], 0)
    few, warnings = split(corpus([1.0, 2.0]), 0)
    assert ([r.split for r in few], len(warnings)) == (["train", "train"], 1)


@settings(deadline=None)
@given(durations=rows, speakers=st.integers(1, 5), texts=st.integers(2, 80), seed=st.integers(0, 3))
@example(durations=[1.0, 2.0, 3.0, 9.0] * 10, speakers=5, texts=7, seed=0)
def test_tune_shares_no_text_with_the_rest(durations, speakers, texts, seed):
    recordings = corpus(durations, speakers, texts, "train")
    recordings[0] = replace(recordings[0], split="dev")
    done = cut_tune(recordings, seed)
    tune = {r.text for r in done if r.split == "tune"}
    assert tune.isdisjoint(r.text for r in done if r.split != "tune")
    assert any(r.split == "train" for r in done)
    assert cut_tune(recordings[::-1], seed) == done[::-1]
    assert cut_tune(done, seed + 1) == done if tune else True
    groups = Counter()
    for r in done:
        groups[r.text] += r.duration_s
    whole_s = total_s([r for r in recordings if r.split == "train"])
    assert total_s(done, "tune") <= max(min(0.05 * whole_s, 300), min(groups.values()) + 1e-6) or len(tune) == 1


@pytest.mark.parametrize(("count", "expected_s"), [(400, 100), (4000, 300)])
def test_tune_is_5_percent_at_most_5_minutes_in_proportion(count, expected_s):
    done = cut_tune(corpus([3.0 + i % 5 for i in range(count)], 8, split_name="train"), 0)
    tune = [r for r in done if r.split == "tune"]
    assert expected_s - 8 <= total_s(tune) <= expected_s
    for name in {r.speaker for r in done}:
        share = total_s([r for r in done if r.speaker == name]) / total_s(done)
        assert abs(total_s([r for r in tune if r.speaker == name]) - share * total_s(tune)) <= 2 * 7


def test_tune_without_texts_is_by_recording():
    done = cut_tune([replace(r, text=None) for r in corpus([2.0] * 200, split_name="train")], 0)
    assert sum(r.split == "tune" for r in done) == 10


def parts(count, length_s=10.0):
    """Return the parts of recordings, of 10 s each."""
    return [
        Recording(id=f"r{i:03d}-{start:03d}", audio=Path(f"/r{i}.wav"), duration_s=10.0, split="train",
                  start_s=10.0 * start, end_s=10.0 * start + 10)
        for i in range(count) for start in range(int(length_s // 10))
    ]  # fmt: skip


def test_parts_of_one_recording_are_in_tune_together():
    for count, length_s in ((40, 60.0), (8, 600.0)):
        done = cut_tune(parts(count, length_s), 0)
        tune = {r.audio for r in done if r.split == "tune"}
        assert tune
        assert tune.isdisjoint(r.audio for r in done if r.split == "train")
    # Of two long recordings neither can be spared.
    for count in (1, 2):
        done = cut_tune(parts(count, 3_600.0), 0)
        assert 250 < total_s(done, "tune") <= 300 or total_s(done, "tune") <= 0.05 * total_s(done)
        assert total_s(done, "tune") > 0


@settings(deadline=None)
@given(
    durations=rows,
    speakers=st.integers(1, 6),
    seed=st.integers(0, 4),
    budgets=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_label_lists_are_nested_and_just_reach_their_budget(durations, speakers, seed, budgets):
    recordings = corpus(durations, speakers, split_name="train")
    whole = label_list(recordings, None, seed)
    assert sorted(r.id for r in whole) == sorted(r.id for r in recordings)
    small_min, large_min = (max(0.99 * share, 1e-4) * total_s(recordings) / 60 for share in sorted(budgets))
    small, large = (label_list(recordings, minutes, seed) for minutes in (small_min, large_min))
    assert small == large[: len(small)] == whole[: len(small)]
    assert total_s(small) >= 60 * small_min - 1e-6
    assert total_s(small[:-1]) < 60 * small_min + 1e-6
    assert label_list(recordings[::-1], small_min, seed) == small


@settings(deadline=None)
@given(durations=rows, speakers=st.integers(1, 6), seed=st.integers(0, 4))
def test_label_lists_hold_speakers_in_proportion(durations, speakers, seed):
    whole = label_list(corpus(durations, speakers, split_name="train"), None, seed)
    pairs = [(r.speaker, r.duration_s) for r in whole]
    assert largest_proportion_error_s(pairs) <= (speakers + 1) * max(durations)


def test_label_lists_differ_by_seed_and_leave_tune_and_untranscribed_out():
    recordings = corpus([2.0] * 300, split_name="train")
    recordings[0] = replace(recordings[0], split="tune")
    recordings[1] = replace(recordings[1], text=None)
    assert {r.id for r in recordings} - {r.id for r in label_list(recordings, None, 0)} == {"r00000", "r00001"}
    assert label_list(recordings, 1, 0) != label_list(recordings, 1, 1)
    with pytest.raises(UsageError, match=r"there are 9\.93 min"):
        label_list(recordings, 10, 0)


def unlabelled(count, length_s=60.0):
    return [
        Recording(id=f"u{i:03d}", audio=Path(f"/u{i}.wav"), duration_s=length_s, speaker=f"s{i % 8}")
        for i in range(count)
    ]


@settings(deadline=None)
@given(
    st.lists(st.floats(0.5, 15), min_size=40, max_size=120), st.integers(1, 9), st.integers(0, 60), st.integers(0, 3)
)
def test_few_labels_among_many_recordings_are_in_every_split(durations, speakers, count, seed):
    labelled = corpus(durations, speakers)
    done = cut_tune(split([*unlabelled(count), *labelled], seed)[0], seed)
    held = {name: [r for r in done if r.split == name and r.text] for name in ("train", "tune", "dev", "test")}
    assert all(held.values())
    assert total_s(held["tune"]) <= max(0.05 * total_s([*held["train"], *held["tune"]]), min(durations)) + 1e-6
    assert {r.split for r in split(labelled, seed)[0]} == {"train", "dev", "test"}
    # Those with a transcript are divided as they would be alone.
    alone = {r.id: r.split for r in split(labelled, seed)[0]}
    assert all(r.split == alone[r.id] for r in split([*unlabelled(count), *labelled], seed)[0] if r.text)


def test_annotated_parts_of_a_single_session_are_divided():
    session = [Recording(id=f"r-{at:03d}", audio=Path("/r.wav"), duration_s=2.0, start_s=2.0 * at, end_s=2.0 * at + 2,
                         text=f"text {at}") for at in range(30)]  # fmt: skip
    done, warnings = split([*unlabelled(20), *session], 0)
    assert Counter(r.split for r in done if r.text) == {"train": 24, "dev": 3, "test": 3}
    assert {r.split for r in done if not r.text} == {"train"}
    assert "fewer than 3 files have transcripts (1)" in warnings[0]
    assert {r.split for r in split(session, 0)[0]} == {"train", "dev", "test"}
    # Layers are chosen, and bits measured, on what is heard without a transcript, too.
    tune = [r for r in cut_tune(done, 0) if r.split == "tune"]
    assert sorted(bool(r.text) for r in tune) == [False, True]
    # Two transcripts are too few: what is heard is divided then.
    assert {r.split for r in split([*unlabelled(20), *session[:2]], 0)[0]} == {"train", "dev", "test"}


def test_speakers_without_transcripts_are_heard_in_train():
    rows = [replace(r, text=None) if r.speaker in {"s0", "s1"} else r for r in corpus([5.0] * 90, 9)]
    done, warnings = split(rows, 0)
    assert not warnings
    assert {r.split for r in done if r.speaker in {"s0", "s1"}} == {"train"}
    assert all(len({r.split for r in done if r.speaker == name}) == 1 for name in {r.speaker for r in done})


def test_recordings_without_a_speaker_are_no_speaker():
    recordings = [
        Recording(id=f"r{index:02d}", audio=Path(f"r{index:02d}.wav"), duration_s=10.0, speaker=speaker)
        for index, speaker in enumerate([*"abcde", None] * 5)
    ]
    _, warnings = split(recordings, 0)
    assert "fewer than 6 speakers (5 named)" in warnings[0]
