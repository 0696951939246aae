"""Pseudo-text comes back exactly, whatever the units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.errors import InputRefused, UsageError
from speechunits.units.pseudotext import MAX_UNITS, Pseudotext, character_unit, unit_character

CLUSTERS = 20


def sequences(seed=0):
    rng = np.random.default_rng(seed)
    # Only the first ten units occur, in words of three.
    words = rng.integers(0, 10, (15, 3))
    return [words[rng.integers(0, 15, 60)].ravel() for _ in range(30)]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pseudotext(request):
    return Pseudotext.fit(sequences(), CLUSTERS, pieces=60, model=request.param)


@settings(max_examples=200, deadline=None)
@given(units=st.lists(st.integers(0, CLUSTERS - 1), max_size=50))
def test_any_sequence_comes_back(pseudotext, units):
    assert pseudotext.decode_ids(pseudotext.encode_ids(units)) == units
    assert pseudotext.decode(pseudotext.encode(units)) == units


def test_frequent_words_become_pieces(pseudotext):
    units = sequences()[0].tolist()
    pieces = pseudotext.encode(units)
    assert len(pieces) < len(units) / 2
    assert len(pseudotext) <= 60
    assert pseudotext.clusters == CLUSTERS


def test_long_sequences_come_back(pseudotext):
    units = np.random.default_rng(1).integers(0, CLUSTERS, 50_000).tolist()
    assert pseudotext.decode_ids(pseudotext.encode_ids(units)) == units


def test_long_training_sequences_are_used():
    # As one line of 12 kB it would be left out, and no word would become a piece.
    whole = np.concatenate(2 * sequences())
    model = Pseudotext.fit([whole], CLUSTERS, pieces=60)
    assert len(model.encode(whole[:600])) < 300


def test_an_inventory_beyond_the_basic_plane_comes_back():
    clusters = 6_500
    model = Pseudotext.fit([np.arange(6_300, 6_500)], clusters, pieces=clusters + 20)
    units = [0, 6_399, 6_400, 6_499, 6_400]
    assert model.clusters == clusters
    assert model.decode_ids(model.encode_ids(units)) == units


@given(unit=st.integers(0, MAX_UNITS - 1))
def test_every_unit_has_a_private_character(unit):
    assert character_unit(unit_character(unit)) == unit


def test_characters_differ_at_the_borders():
    assert unit_character(0) == "\ue000"
    assert unit_character(6_399) == "\uf8ff"
    assert unit_character(6_400) == "\U000f0000"
    assert unit_character(6_400 + 65_534) == "\U00100000"
    with pytest.raises(UsageError, match="at most"):
        unit_character(MAX_UNITS)


def test_equal_input_gives_equal_models():
    assert (
        Pseudotext.fit(sequences(), CLUSTERS, pieces=60).model == Pseudotext.fit(sequences(), CLUSTERS, pieces=60).model
    )


def test_a_saved_model_is_the_same_model(pseudotext, tmp_path):
    pseudotext.save(tmp_path / "units.model")
    again = Pseudotext((tmp_path / "units.model").read_bytes())
    assert again.encode([1, 2, 3, 19]) == pseudotext.encode([1, 2, 3, 19])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 20, "pieces": 22}, "pieces must be at least 23"),
        ({"clusters": 200_000, "pieces": 500_000}, "at most"),
        ({"clusters": 20, "pieces": 40, "model": "word"}, "unigram or bpe"),
    ],
)
def test_impossible_vocabularies_are_usage_errors(options, message):
    with pytest.raises(UsageError, match=message):
        Pseudotext.fit([[1, 2]], **options)


def test_bad_input_is_refused(pseudotext):
    for call, value in (
        (pseudotext.encode_ids, [CLUSTERS]),
        (pseudotext.encode_ids, [-1]),
        (pseudotext.decode_ids, [10_000]),
        (pseudotext.decode, ["1-x"]),
        (pseudotext.decode, ["99"]),
    ):
        with pytest.raises(InputRefused):
            call(value)
    with pytest.raises(InputRefused, match="no sentencepiece model"):
        Pseudotext(b"not a model")
    assert pseudotext.decode_ids([1, *pseudotext.encode_ids([4, 4]), 2]) == [4, 4]
