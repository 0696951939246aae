"""Frames and windows against definitions written out sample by sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechunits.frames import (
    CORE_FRAMES,
    MAX_WINDOW,
    PADDED_LENGTHS,
    canonical_windows,
    frame_center_s,
    frame_count,
    frame_counts,
    frame_edges_s,
    frames_mask,
    matching_frames,
    padded_length,
)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (1, 0), (399, 0), (400, 1), (401, 1), (719, 1), (720, 2), (16_000, 49)]
)
def test_frame_count_known_answers(samples, frames):
    assert frame_count(samples) == frames


@given(st.integers(0, 5000))
def test_frame_count_is_the_number_of_whole_receptive_fields(samples):
    starts = [start for start in range(0, samples, 320) if start + 400 <= samples]
    assert frame_count(samples) == len(starts)


def test_frame_counts_agree_with_frame_count():
    lengths = torch.arange(0, 3000)
    assert frame_counts(lengths).tolist() == [frame_count(n) for n in range(3000)]


def test_center_and_edges():
    assert frame_center_s(0) == pytest.approx(0.0125)
    assert frame_center_s(10) == pytest.approx((3200 + 200) / 16_000)
    assert frame_edges_s(0, 2, total=5, duration_s=0.2) == (0.0, pytest.approx(frame_center_s(2) + 0.01))
    assert frame_edges_s(3, 4, total=5, duration_s=0.2) == (pytest.approx(frame_center_s(3) - 0.01), 0.2)


def test_frames_mask():
    assert frames_mask(torch.tensor([0, 2]), 3).tolist() == [[False, False, False], [True, True, False]]


@given(
    st.one_of(st.integers(0, 1000), st.integers(MAX_WINDOW - 400, MAX_WINDOW + 700), st.integers(0, 60 * 60 * 16_000))
)
def test_windows_own_every_frame_once_and_contain_it(samples):
    windows = canonical_windows(samples)
    owned = [frame for window in windows for frame in range(window.first, window.first + window.count)]
    assert owned == list(range(frame_count(samples)))
    for window in windows:
        assert 0 <= window.start <= window.stop <= samples
        assert window.start % 320 == 0
        assert window.stop - window.start <= window.padded == padded_length(window.stop - window.start)
        # The window's own frame ``skip`` is the recording's frame ``first``, and the last owned frame fits in.
        assert window.start + 320 * window.skip == 320 * window.first
        assert window.skip + window.count <= frame_count(window.stop - window.start)


def test_long_recordings_follow_the_protocol_grid():
    samples = 320_001
    first, second = canonical_windows(samples)
    assert (first.start, first.stop, first.count) == (0, 256_000 + 32_000 + 80, CORE_FRAMES)
    assert (second.start, second.stop) == (256_000 - 32_000, samples)
    assert len(canonical_windows(MAX_WINDOW)) == 1


def test_padded_length_refuses_what_is_no_window():
    sizes = (400, 16_080, 16_081, 32_081, MAX_WINDOW)
    assert [padded_length(n) for n in sizes] == [16_080, 16_080, 32_080, 48_080, PADDED_LENGTHS[-1]]
    with pytest.raises(ValueError, match="at most 320080"):
        padded_length(320_081)


def test_matching_frames_known_answers():
    assert matching_frames(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert matching_frames(5, 4, start=640, other_start=0).tolist() == [2, 3, -1, -1, -1]
    assert matching_frames(4, 9, start=0, other_start=640).tolist() == [-1, -1, 0, 1]
    assert matching_frames(0, 3).tolist() == []


@given(st.floats(0.7, 1.4), st.floats(0.7, 1.4), st.integers(0, 50), st.integers(0, 50))
def test_matching_frames_are_the_nearest_in_time_and_in_one_pair_at_most(speed, other_speed, first, other_first):
    matches = matching_frames(
        60, 70, start=320 * first, other_start=320 * other_first, speed=speed, other_speed=other_speed
    ).tolist()
    found = [match for match in matches if match >= 0]
    assert found == sorted(set(found))
    for frame, match in enumerate(matches):
        moment = 320 * first + speed * (320 * frame + 200)
        distances = [abs(320 * other_first + other_speed * (320 * place + 200) - moment) for place in range(70)]
        if match >= 0:
            assert distances[match] == pytest.approx(min(distances), abs=1e-6)
            assert distances[match] <= other_speed * 160 + 1e-6
