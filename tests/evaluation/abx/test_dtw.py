import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.errors import UsageError
from speechunits.evaluation.abx.dtw import DISTANCES, FrameTokens, UnitTokens
from tests.reference.abx import warped
from tests.reference.reduction import edit_distance


def make(rng, kind, lengths, dim, *, one_hot=False):
    """Return frames, starts and lengths of tokens; ``one_hot`` frames tie everywhere."""
    frames = np.eye(dim)[rng.integers(0, dim, sum(lengths))] if one_hot else rng.standard_normal((sum(lengths), dim))
    if kind == "kl":
        frames = np.abs(frames) + 1e-3
        frames /= frames.sum(axis=1, keepdims=True)
    return frames.astype(np.float32), np.cumsum([0, *lengths[:-1]]), np.array(lengths)


@pytest.mark.parametrize("kind", DISTANCES)
@settings(max_examples=15)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(1, 5), st.booleans())
def test_every_distance_is_the_oracles(kind, seed, lengths, dim, one_hot):
    frames, starts, counts = make(np.random.default_rng(seed), kind, lengths, dim, one_hot=one_hot)
    tokens = [frames[start : start + count].tolist() for start, count in zip(starts, counts, strict=True)]
    everything = np.arange(len(tokens))
    made = FrameTokens(frames, starts, counts, kind).between(everything, everything.copy())
    wanted = [[warped(x, y, kind) for y in tokens] for x in tokens]
    # arccos turns an error of 6e-8 near cosine 1 into 3e-4 rad; a path's mean is no larger.
    np.testing.assert_allclose(made, wanted, rtol=2e-5, atol=2e-4 if kind == "angular" else 1e-5)


def test_a_token_is_as_far_from_another_as_the_other_from_it():
    frames, starts, counts = make(np.random.default_rng(1), "angular", [3, 1, 5, 4, 2], 3, one_hot=True)
    tokens = FrameTokens(frames, starts, counts, "angular")
    everything = np.arange(5)
    full = tokens.between(everything, everything.copy())
    np.testing.assert_array_equal(full, full.T)
    np.testing.assert_array_equal(full * (1 - np.eye(5)), tokens.between(everything, everything))


def test_known_distances():
    frames = np.array([[1, 0], [0, 1], [1, 1], [-2, 0], [0, 0]], np.float32)
    tokens = FrameTokens(frames, np.arange(5), np.ones(5, int), "angular")
    np.testing.assert_allclose(tokens.between(np.array([0]), np.arange(5)), [[0, 0.5, 0.25, 1, 0.5]], atol=1e-6)
    # Frames 0 0 1 against 0 1 1: the warped path costs nothing.
    repeated = FrameTokens(frames[[0, 0, 1, 0, 1, 1]], np.array([0, 3]), np.array([3, 3]), "cosine")
    assert repeated.between(np.array([0]), np.array([1])).item() == 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=2, max_size=4))
def test_units_are_compared_by_edit_distance(sequences):
    made = UnitTokens([np.array(sequence) for sequence in sequences])
    rows = np.arange(len(sequences))
    wanted = [[edit_distance(x, y) / max(len(x), len(y)) for y in sequences] for x in sequences]
    np.testing.assert_allclose(made.between(rows, rows), wanted, rtol=1e-6)


def test_kl_must_be_given_probabilities():
    one = np.array([1])
    with pytest.raises(UsageError, match="probabilities"):
        FrameTokens(np.array([[0.5, -0.5]], np.float32), one - 1, one, "kl")
    with pytest.raises(UsageError, match="'manhattan' instead"):
        FrameTokens(np.ones((1, 2), np.float32), one - 1, one, "manhattan")


@pytest.mark.parametrize("kind", DISTANCES)
def test_blocks_of_columns_change_nothing_and_equal_tokens_are_equally_far(kind):
    """Tokens of up to 700 frames span blocks; copies of a token at other places are at exactly its distances."""
    lengths = [700, 3, 260, 250, 5, 3, 5, 260]
    frames, starts, counts = make(np.random.default_rng(2), kind, lengths, 4)
    for copy, original in ((5, 1), (6, 4), (7, 2)):
        frames[starts[copy] : starts[copy] + counts[copy]] = frames[starts[original] : starts[original] + counts[copy]]
    tokens = FrameTokens(frames, starts, counts, kind)
    everything = np.arange(8)
    full = tokens.between(everything, everything.copy())
    for copy, original in ((5, 1), (6, 4), (7, 2)):
        np.testing.assert_array_equal(full[copy], full[original])
        np.testing.assert_array_equal(full[:, copy], full[:, original])
    alone = [[tokens.between(np.array([x]), np.array([y])).item() for y in everything] for x in everything]
    np.testing.assert_array_equal(full, alone)
    np.testing.assert_array_equal(
        full[~np.eye(8, dtype=bool)], tokens.between(everything, everything)[~np.eye(8, dtype=bool)]
    )
