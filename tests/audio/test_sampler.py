"""The order of training: everything once, bounded batches, and a function of (seed, epoch) alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.audio.sampler import Piece, Sampler, consecutive_batches, fill_batches, padded_samples
from speechunits.config import BatchConfig
from speechunits.frames import frame_count

CONFIG = BatchConfig(batch_s=20.0, crop_s=5.0, min_s=0.5)


def lengths(count=60, seed=0, longest_s=12.0):
    return (np.random.default_rng(seed).uniform(0.6, longest_s, count) * 16_000).astype(int).tolist()


def pieces_of(batches):
    return [piece for batch in batches for piece in batch]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(8_000, 900_000), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_reads_every_recording_the_same_number_of_times(samples, seed, epoch):
    batches = Sampler(samples, CONFIG, seed=seed).epoch(epoch)
    read = np.zeros(len(samples), int)
    for piece in pieces_of(batches):
        assert 0 <= piece.start < piece.stop <= samples[piece.index]
        assert piece.start % 320 == 0
        assert 8_000 <= piece.stop - piece.start <= 80_000
        read[piece.index] += piece.stop - piece.start
    passes = np.rint(read / samples)
    assert len(set(passes)) == 1
    # What is missing are remainders shorter than min_s: at most two for a pass.
    assert (passes * samples - read <= passes * 2 * 8_000).all()


def test_batches_are_bounded_and_padded_little():
    batches = Sampler(lengths(600), CONFIG, seed=1).epoch(0)
    cost = [len(batch) * max(piece.samples for piece in batch) for batch in batches]
    real = [sum(piece.samples for piece in batch) for batch in batches]
    assert max(cost) <= 20 * 16_000
    assert sum(real) / sum(cost) > 0.93
    assert np.mean(cost) > 0.85 * 20 * 16_000


def test_crops_of_the_full_length_fill_a_batch():
    batches = fill_batches([Piece(0, 0, 80_000)] * 9, 20.0)
    assert [len(batch) for batch in batches] == [4, 4, 1]


def test_the_order_is_a_function_of_seed_and_epoch():
    one, other = Sampler(lengths(), CONFIG, seed=3), Sampler(lengths(), CONFIG, seed=3)
    other.epoch(5)
    assert one.epoch(2) == other.epoch(2)
    assert one.epoch(2) != one.epoch(3)
    assert one.epoch(2) != Sampler(lengths(), CONFIG, seed=4).epoch(2)


def test_utterances_meet_others_in_every_epoch():
    sampler = Sampler(lengths(40, longest_s=5.0), CONFIG, seed=0)
    groups = [{frozenset(piece.index for piece in batch) for batch in sampler.epoch(epoch)} for epoch in (0, 1)]
    assert len(groups[0] & groups[1]) < 0.5 * len(groups[0])  # all of them without the blur


@pytest.mark.parametrize("per_step", [1, 2, 3])
def test_steps_are_whole_and_shared_among_ranks(per_step):
    sampler = Sampler(lengths(), CONFIG, seed=0, per_step=per_step)
    assert len(sampler.epoch(0)) == per_step * sampler.steps(0)
    assert sampler.step(0, 1) == sampler.epoch(0)[per_step : 2 * per_step]


@pytest.mark.parametrize("per_step", [1, 2])
@pytest.mark.parametrize("hours", [0.0001, 0.05, 0.4])
def test_the_budget_is_reached_by_the_last_step_and_not_before(hours, per_step):
    sampler = Sampler(lengths(), CONFIG, seed=0, per_step=per_step)
    steps, seen_s, before_s, epoch, position = sampler.steps_for(hours), 0.0, 0.0, 0, 0
    for _ in range(steps):
        if position == sampler.steps(epoch):
            epoch, position = epoch + 1, 0
        before_s = seen_s
        seen_s += sum(piece.source_s for piece in pieces_of(sampler.step(epoch, position)))
        position += 1
    assert before_s < hours * 3600 <= seen_s + 1e-5


@pytest.mark.parametrize("per_step", [1, 3])
def test_a_budget_of_many_epochs_is_not_counted_to_its_end(per_step, monkeypatch):
    exact = Sampler(lengths(), CONFIG, seed=0, per_step=per_step).steps_for(30.0)
    sampler = Sampler(lengths(), CONFIG, seed=0, per_step=per_step)
    monkeypatch.setattr("speechunits.audio.sampler._COUNTED_PIECES", 10 * len(pieces_of(sampler.epoch(0))))
    made, make = [], sampler._make_epoch
    monkeypatch.setattr(sampler, "_make_epoch", lambda epoch: made.append(epoch) or make(epoch))
    found = sampler.steps_for(30.0)
    assert len(made) < 13
    assert abs(found - exact) < 0.01 * exact
    # Another rank, or the same training resumed, has made other epochs before.
    other = Sampler(lengths(), CONFIG, seed=0, per_step=per_step)
    other.epoch(7)
    assert other.steps_for(30.0) == found


def test_what_is_counted_is_exact_up_to_the_bound(monkeypatch):
    sampler = Sampler(lengths(), CONFIG, seed=0)
    monkeypatch.setattr("speechunits.audio.sampler._COUNTED_PIECES", 5 * len(pieces_of(sampler.epoch(0))))
    epoch_h = sum(piece.source_s for piece in pieces_of(sampler.epoch(0))) / 3600
    budgets = [0.5 * epoch_h, 3.3 * epoch_h]
    found = [sampler.steps_for(hours) for hours in budgets]
    monkeypatch.undo()
    assert found == [Sampler(lengths(), CONFIG, seed=0).steps_for(hours) for hours in budgets]


def test_a_few_utterances_still_fill_their_batches():
    batches = Sampler([40_000] * 3, CONFIG, seed=0).epoch(0)
    assert len(batches) >= 8
    assert sum(len(batch) == 8 for batch in batches) >= len(batches) - 1


def test_short_recordings_are_left_out_and_counted():
    sampler = Sampler([100, 7_999, 8_000, 30_000], CONFIG, seed=0)
    assert (sampler.kept, sampler.left_out) == ([2, 3], 2)
    with pytest.raises(ValueError, match="long enough"):
        Sampler([100], CONFIG, seed=0).steps_for(1.0)


def test_without_crops_recordings_stay_whole_and_speeds_keep_room_for_the_text():
    samples = [200_000, 100_000, 48_000]
    sampler = Sampler(samples, CONFIG, seed=0, crop=False, speeds=(0.9, 1.0, 1.1), least_samples=[0, 0, 47_000])
    pieces = pieces_of(sampler.epoch(0))
    assert all((piece.start, piece.stop) == (0, samples[piece.index]) for piece in pieces)
    assert {piece.speed for piece in pieces if piece.index == 0} == {0.9, 1.0, 1.1}
    assert {piece.speed for piece in pieces if piece.index == 2} == {0.9, 1.0}
    assert Piece(0, 0, 110_000, 1.1).samples == 100_000


def test_held_out_speech_is_cut_without_chance():
    batches = consecutive_batches([200_000, 30_000, 100], CONFIG, crop=True)
    read = sorted((piece.index, piece.start, piece.stop) for piece in pieces_of(batches))
    assert read == [(0, 0, 80_000), (0, 80_000, 160_000), (0, 160_000, 200_000), (1, 0, 30_000)]
    whole = consecutive_batches([200_000, 30_000], CONFIG, crop=False)
    assert sorted(piece.stop for piece in pieces_of(whole)) == [30_000, 200_000]


def test_rows_of_a_group_meet_where_that_is_asked_for():
    samples, names = lengths(400, longest_s=5.0), [f"voice{index % 40}" for index in range(400)]

    def alone(batches):
        """Return the share of rows without another of their group in their batch."""
        groups = [[names[piece.index] for piece in batch] for batch in batches]
        return np.mean([row.count(name) == 1 for row in groups for name in row])

    grouped = Sampler(samples, CONFIG, seed=0, groups=names)
    assert alone(grouped.epoch(0)) < 0.15
    assert alone(Sampler(samples, CONFIG, seed=0).epoch(0)) > 0.7
    assert alone(consecutive_batches(samples, CONFIG, crop=True, groups=names)) < 0.15
    # All is heard as often, in another order each time, and the same for the same seed.
    for epoch in (0, 1):
        assert Counter(piece.index for piece in pieces_of(grouped.epoch(epoch))) == Counter(range(400))
    assert grouped.epoch(0) == Sampler(samples, CONFIG, seed=0, groups=names).epoch(0) != grouped.epoch(1)
    assert max(len(batch) * max(piece.samples for piece in batch) for batch in grouped.epoch(0)) <= 20 * 16_000


@given(st.integers(1, 400_000))
def test_padded_lengths_are_near_and_on_the_frame_grid(samples):
    padded = padded_samples(samples)
    assert samples <= padded < samples + 1_280 + 80
    assert frame_count(padded) % 4 == 0


def test_batches_of_utterances_are_hardly_padded():
    # As long as those of read speech: 3.3 s at the median, a tenth above 5.5 s.
    samples = (16_000 * np.random.default_rng(0).lognormal(1.2, 0.4, 2000)).astype(int).tolist()
    batches = Sampler(samples, BatchConfig(batch_s=20.0), seed=0).epoch(0)
    taken = sum(padded_samples(max(piece.samples for piece in batch)) * len(batch) for batch in batches)
    real = sum(piece.samples for batch in batches for piece in batch)
    assert 0 < 1 - real / taken < 0.03


@pytest.mark.parametrize("seconds", [0.25, 0.51, 1.01])
def test_crops_as_long_as_the_shortest_recording(seconds):
    """A crop is whole frames, so it may be shorter than the least by less than one."""
    config = BatchConfig(batch_s=20.0, crop_s=seconds, min_s=seconds)
    samples = [round(seconds * 16_000), 48_000]
    assert pieces_of(Sampler(samples, config, seed=0).epoch(0))
    assert pieces_of(consecutive_batches(samples, config, crop=True))
