import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from speechunits.asr.arpa import read_arpa, write_arpa
from speechunits.audio.manifest import Recording, write_manifest
from speechunits.errors import UsageError
from speechunits.evaluation.information import KneserNey
from speechunits.evaluation.language import estimate_ngrams, read_texts

TEXTS = ["abra cadabra", "abc  cab", "", "bad cab", "a", "abra abra"]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_backoff_model_has_the_probabilities_of_the_interpolated_one(order):
    model = estimate_ngrams(TEXTS, order=order)
    names = [*sorted(model.symbols), "</s>"]
    index = {name: number for number, name in enumerate(names)}
    lines = [[*(("<space>" if letter == " " else letter) for letter in " ".join(text.split())), "</s>"]
             for text in TEXTS if text]  # fmt: skip
    oracle = KneserNey([np.array([index[name] for name in line]) for line in lines], len(names), order)
    unseen = [["c", "c", "d", "<space>", "b", "r", "</s>"], ["d", "</s>"]]
    for line in [*lines, *unseen]:
        expected = oracle.probabilities([np.array([index[name] for name in line])])
        history = ("<s>",)
        for symbol, probability in zip(line, expected, strict=True):
            assert 10 ** model.log10(history, symbol) == pytest.approx(probability)
            history = model.after(history, symbol)


def test_probabilities_of_every_history_sum_to_one():
    for words in (False, True):
        model = estimate_ngrams(TEXTS, order=3, words=words)
        names = [*model.symbols, "</s>", *(["<unk>"] if words else [])]
        histories = [(), ("<s>",), *((name,) for name in model.symbols), *itertools.product(model.symbols, repeat=2)]
        for history in histories:
            assert math.fsum(10 ** model.log10(history, name) for name in names) == pytest.approx(1)


def test_it_can_be_written_and_read(tmp_path):
    model = estimate_ngrams(TEXTS, order=4)
    write_arpa(tmp_path / "lm.arpa", model)
    again = read_arpa(tmp_path / "lm.arpa")
    assert again.ngrams.keys() == model.ngrams.keys()
    assert again.of_characters
    for ngram, values in model.ngrams.items():
        np.testing.assert_allclose(again.ngrams[ngram], values, rtol=1e-5, atol=1e-6)
    words = estimate_ngrams(TEXTS, order=2, words=True)
    assert words.symbols == {"abra", "cadabra", "abc", "cab", "bad", "a"}
    assert words.unknown < 0


def test_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="needs text, but there is none"):
        estimate_ngrams(["", "  "])
    with pytest.raises(UsageError, match="order of a language model must be at least 1"):
        estimate_ngrams(TEXTS, order=0)
    with pytest.raises(UsageError, match="cannot read the text"):
        read_texts(tmp_path / "missing.txt")
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    assert read_texts(tmp_path / "t.txt") == ["one", "two"]
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert [text.strip() for text in read_texts(tmp_path / "t.txt")] == ["one", "two"]


def test_texts_of_a_manifest_are_those_that_training_hears(tmp_path):
    rows = [Recording(id=f"r{at}", audio=tmp_path / f"{at}.wav", duration_s=2.0, text=f"text {at}") for at in range(40)]
    write_manifest(tmp_path / "m.tsv", rows)
    found = {split: set(read_texts(tmp_path / "m.tsv", split)) for split in ("train", "tune", "dev", "test")}
    assert sum(map(len, found.values())) == 40
    assert set().union(*found.values()) == {row.text for row in rows}
    assert all(found.values())
    # Only tune is cut from train where the others are named.
    write_manifest(tmp_path / "m.tsv", [replace(row, split="train") for row in rows])
    assert len(read_texts(tmp_path / "m.tsv")) == 38
    with pytest.raises(UsageError, match="no split 'trian'; its splits are: train, tune"):
        read_texts(tmp_path / "m.tsv", "trian")
