import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechunits.evaluation.edit import character_edits, error_rate, word_edits
from tests.reference.reduction import edit_distance


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "length"),
    [
        ("kitten", "sitting", 3, 6),
        ("a b", "ab", 1, 3),  # the space counts
        ("ab", "", 2, 2),  # all blank: all deletions
        ("", "ab", 2, 0),
        ("a", "abcd", 3, 1),  # insertions pass 100 %
        ("\u00e9", "e\u0301", 0, 1),  # composed and decomposed are the same in NFC
        ("\u0254\u0301", "\u0254", 1, 2),  # open o with acute has no composed form: two code points
    ],
)
def test_character_edits_by_hand(reference, hypothesis, errors, length):
    assert character_edits(reference, hypothesis) == (errors, length)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "length"),
    [
        ("the cat sat", "the cat sat", 0, 3),
        ("the cat sat", "the bat sat down", 2, 3),
        ("the  cat", "the cat", 0, 2),
        ("the cat", "", 2, 2),
    ],
)
def test_word_edits_by_hand(reference, hypothesis, errors, length):
    assert word_edits(reference, hypothesis) == (errors, length)


@given(st.text("abc ", max_size=12), st.text("abc ", max_size=12))
def test_edits_equal_the_oracle(reference, hypothesis):
    assert character_edits(reference, hypothesis).errors == edit_distance(reference, hypothesis)
    assert word_edits(reference, hypothesis).errors == edit_distance(reference.split(), hypothesis.split())


def test_rate_is_pooled_and_not_capped():
    pairs = [("abcd", "abcx"), ("a", "xyz"), ("ab", "")]
    rate = error_rate(character_edits(reference, hypothesis) for reference, hypothesis in pairs)
    assert rate == (1 + 3 + 2) / (4 + 1 + 2)
    assert rate == pytest.approx(jiwer.cer([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
    assert error_rate([(3, 1)]) == 3.0


def test_empty_references_are_refused():
    with pytest.raises(ValueError, match="at least one unit"):
        error_rate([(2, 0)])
