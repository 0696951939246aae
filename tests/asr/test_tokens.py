from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechunits.asr.tokens import Tokenizer, build_tokenizer, minimum_frames, usable
from speechunits.errors import UsageError
from tests.reference.asr import fewest_frames

TEXTS = ["la casa", "el agua  es\tclara", "cafe\u0301", "una nin\u0303a"]


@pytest.mark.parametrize("kind", ["characters", "sentencepiece"])
def test_round_trip_and_restore(kind):
    tokenizer = build_tokenizer(TEXTS, kind, pieces=40)
    for made in (tokenizer, Tokenizer.restore(*tokenizer.export())):
        assert len(made) == len(tokenizer)
        for text in ["la casa", "el agua es clara", "caf\u00e9"]:
            tokens = made.encode(text)
            assert 0 not in tokens
            assert max(tokens) < len(made)
            assert made.decode(tokens) == text
            assert made.decode([0, *tokens, 0]) == text
            # As references are spelt: no white space at the ends, one space between words.
            space = made.symbols.index(" " if made.model is None else "\u2581")
            assert made.decode([space, space, *tokens, space]) == text


def test_characters_are_in_nfc_and_sorted():
    tokenizer = build_tokenizer(["b\u0301a a", "cafe\u0301"])
    assert tokenizer.symbols == ("", " ", "a", "b", "c", "f", "\u00e9", "\u0301")
    assert tokenizer.encode("caf\u00e9") == tokenizer.encode("cafe\u0301")


@pytest.mark.parametrize("kind", ["characters", "sentencepiece"])
def test_unseen_characters_are_dropped_and_counted(kind):
    tokenizer = build_tokenizer(TEXTS, kind, pieces=40)
    unseen = Counter()
    tokens = tokenizer.encode("la xasa ЖЖ", unseen)
    assert unseen == {"x": 1, "Ж": 2}
    assert tokenizer.decode(tokens).startswith("la asa")


def test_empty_texts_are_refused():
    with pytest.raises(UsageError, match="all are empty"):
        build_tokenizer(["", "  "])


@given(st.lists(st.integers(1, 2), max_size=4))
def test_minimum_frames_equals_the_oracle(tokens):
    assert minimum_frames(tokens) == fewest_frames(tokens)


def test_usable_leaves_out_what_ctc_cannot_align():
    tokenizer = build_tokenizer(["aab"])

    def recording(name, duration_s, text):
        return SimpleNamespace(id=name, duration_s=duration_s, text=text)

    # 4 frames: 400 + 3 · 320 samples; "aab" needs a blank between its two a.
    exact = recording("exact", (400 + 3 * 320) / 16000, "aab")
    rows = [exact, recording("tight", (400 + 2 * 320) / 16000, "aab"), recording("empty", 1.0, " "),
            recording("none", 1.0, None), recording("long", 20.5, "a")]  # fmt: skip
    kept, left_out = usable(rows, tokenizer)
    assert [row.id for row in kept] == ["exact"]
    reasons = {row.id: reason for row, reason in left_out}
    assert reasons["tight"] == "its text needs 4 frames, but its audio has 3"
    assert reasons["empty"] == reasons["none"] == "it has no text"
    assert "20.5 s" in reasons["long"]
    assert usable([exact], tokenizer, fastest=1.1)[0] == []


def test_phones_are_whole_symbols():
    tokenizer = build_tokenizer(["t\u0283 a  n", "a k\u02b0"], "phones")
    assert tokenizer.symbols == ("", "a", "k\u02b0", "n", "t\u0283")
    unseen = Counter()
    tokens = tokenizer.encode("t\u0283 x a a", unseen)
    assert tokens == [4, 1, 1]
    assert unseen == {"x": 1}
    assert tokenizer.decode([4, 0, 1, 1]) == "t\u0283 a a"
    assert tokenizer.counted("t\u0283 a") == ["t\u0283", "a"]
    restored = Tokenizer.restore(*tokenizer.export())
    assert restored.encode("k\u02b0 n") == [2, 3]
    assert build_tokenizer(["ab"]).counted("a b") == "a b"
