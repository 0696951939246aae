import gzip
import math

import pytest

from speechunits.asr.arpa import NgramModel, read_arpa, write_arpa
from speechunits.cli.output import is_arpa
from speechunits.errors import InputRefused
from tests.reference.asr import katz_log10

TOY = """a preamble nobody reads

\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0 </s>
-99 <s> -0.3
-0.5\ta\t-0.2
-0.7 b -0.4
-0.9 <space>

\\2-grams:
-0.1 <s> a
-0.2 a b
-0.3 b </s>

\\end\\
"""


def write(tmp_path, text, name="lm.arpa"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_probabilities_back_off(tmp_path):
    model = read_arpa(write(tmp_path, TOY))
    assert (model.order, model.of_characters, model.space) == (2, True, "<space>")
    assert model.symbols == {"a", "b", "<space>"}
    for history in ((), ("<s>",), ("a",), ("b",), ("b", "a"), ("<space>",)):
        for word in ("a", "b", "</s>", "<space>"):
            assert model.log10(history, word) == pytest.approx(katz_log10(model.ngrams, history[-1:], word))
    assert model.log10(("a",), "nobody knows") == pytest.approx(-0.2 - 10)
    assert model.after(("a", "b"), "a") == ("a",)
    assert model.after(("a",), "<space>") == ("<space>",)
    assert model.after(("a",), "?") == ()


def test_written_and_read_again(tmp_path):
    model = read_arpa(write(tmp_path, TOY))
    write_arpa(tmp_path / "again.arpa", model)
    assert read_arpa(tmp_path / "again.arpa") == model
    first = (tmp_path / "again.arpa").read_bytes()
    write_arpa(tmp_path / "again.arpa", NgramModel(2, dict(reversed(model.ngrams.items()))))
    assert (tmp_path / "again.arpa").read_bytes() == first
    with gzip.open(tmp_path / "lm.arpa.gz", "wb") as file:
        file.write(TOY.encode())
    assert read_arpa(tmp_path / "lm.arpa.gz") == model


def test_words_are_told_from_characters(tmp_path):
    text = TOY.replace("<space>", "casa")
    model = read_arpa(write(tmp_path, text))
    assert not model.of_characters
    assert model.space is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\\end\\\n", ""), r"line 18: the file ends here, but \\end\\ must follow; is it truncated\?"),
        (("\\data\\", "data"), r"the file ends here, but a line \\data\\ must follow"),
        (("-0.7 b -0.4", "-0.7 b -0.4 x"), r"line 11: must be a log10 probability, 1 symbols and perhaps"),
        (("-0.7 b", "minus b"), r"line 11: a log10 probability must be a number, but is 'minus' instead"),
        (("-0.7 b", "0.7 b"), r"line 11: a log10 probability must be at most 0, but is 0.7"),
        (("-0.7 b", "nan b"), r"line 11: a log10 probability must be finite, but is nan"),
        (("b -0.4", "b inf"), r"line 11: a back-off weight must be finite"),
        (("-0.2 a b", "-0.1 <s> a"), r"line 16: the 2-gram '<s> a' is there twice"),
        (("ngram 2=3", "ngram 2=4"), r"line 19: 4 2-grams were announced, but 3 are there"),
        (("ngram 2=3", "ngram 3=3"), r"line 5: must be ngram 2=COUNT, but is 'ngram 3=3'"),
        (("ngram 2=3", "ngram two"), r"line 5: must be ngram 2=COUNT"),
        (("\\2-grams:", "\\3-grams:"), r"line 14: must be \\2-grams:, but is '\\\\3-grams:'"),
        (("\\end\\", "\\3-grams:"), r"line 19: must be \\end\\, but"),
    ],
)
def test_a_malformed_file_is_refused_with_line_and_reason(tmp_path, change, message):
    assert change[0] in TOY
    with pytest.raises(InputRefused, match=message):
        read_arpa(write(tmp_path, TOY.replace(*change, 1)))


def test_what_is_no_text_or_not_there_is_refused(tmp_path):
    path = tmp_path / "lm.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code\xff\xfe\x00")
    with pytest.raises(InputRefused, match="binary model of another program"):
        read_arpa(path)
    with pytest.raises(InputRefused, match="cannot read the language model"):
        read_arpa(tmp_path / "missing.arpa")
    (tmp_path / "cut.arpa.gz").write_bytes(gzip.compress(TOY.encode())[:-12])
    with pytest.raises(InputRefused, match="cannot read the language model"):
        read_arpa(tmp_path / "cut.arpa.gz")
    packed = bytearray(gzip.compress(TOY.encode()))
    packed[15:25] = bytes(10)
    (tmp_path / "damaged.arpa.gz").write_bytes(packed)
    with pytest.raises(InputRefused, match=r"cannot read the language model .*damaged.arpa.gz"):
        read_arpa(tmp_path / "damaged.arpa.gz")


def test_an_empty_model_gives_no_probability(tmp_path):
    model = read_arpa(write(tmp_path, "\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n"))
    assert math.isclose(model.log10((), "a"), -10)


def test_a_gzipped_model_comes_back_and_equal_models_are_equal_files(tmp_path):
    model = NgramModel(1, {("a",): (-0.5, 0.0), ("b",): (-0.25, 0.0)})
    for name in ("one", "two"):
        write_arpa(tmp_path / f"{name}.arpa.gz", model)
    assert read_arpa(tmp_path / "one.arpa.gz").ngrams == model.ngrams
    assert (tmp_path / "one.arpa.gz").read_bytes() == (tmp_path / "two.arpa.gz").read_bytes()
    assert is_arpa(tmp_path / "one.arpa.gz")
    (tmp_path / "other.gz").write_bytes(b"somebody's own")
    assert not is_arpa(tmp_path / "other.gz")


def test_a_mark_of_the_byte_order_is_no_fault(tmp_path):
    model = NgramModel(1, {("a",): (-0.5, 0.0)})
    write_arpa(tmp_path / "a.arpa", model)
    (tmp_path / "b.arpa").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.arpa").read_bytes())
    assert read_arpa(tmp_path / "b.arpa").ngrams == model.ngrams
