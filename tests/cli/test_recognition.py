"""``lm``, and what ``recognize`` says of options that do not fit together."""

import io

import numpy as np
import pytest
import soundfile

from speechunits.asr.arpa import read_arpa
from speechunits.cli import main
from speechunits.units.bundle import write_bundle
from tests.asr.tiny import recognizer


@pytest.fixture
def text(tmp_path):
    (tmp_path / "t.txt").write_text("casa nueva\n\ncasa vieja\n", encoding="utf-8")
    return tmp_path / "t.txt"


def test_a_language_model_is_estimated(text, tmp_path, capsys):
    assert main(["lm", str(text), "-o", str(tmp_path / "lm.arpa"), "--order", "3"]) == 0
    model = read_arpa(tmp_path / "lm.arpa")
    assert (model.order, model.of_characters, model.space) == (3, True, "<space>")
    assert "10 characters" in capsys.readouterr().out
    assert main(["lm", str(text), "-o", str(tmp_path / "words.arpa"), "--words"]) == 0
    assert read_arpa(tmp_path / "words.arpa").symbols == {"casa", "nueva", "vieja"}


def test_a_manifest_gives_the_texts_of_a_split(tmp_path, capsys):
    rows = ["id\taudio\tduration\tsplit\ttext", "a\ta.wav\t1\ttrain\tuno", "b\tb.wav\t1\tdev\tdos"]
    (tmp_path / "m.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert main(["lm", str(tmp_path / "m.tsv"), "-o", str(tmp_path / "lm.arpa")]) == 0
    assert read_arpa(tmp_path / "lm.arpa").symbols == set("uno")
    assert main(["lm", str(tmp_path / "m.tsv"), "--split", "dev", "-o", str(tmp_path / "lm.arpa")]) == 0
    assert read_arpa(tmp_path / "lm.arpa").symbols == set("dos")
    assert main(["lm", str(tmp_path / "m.tsv"), "--split", "test", "-o", str(tmp_path / "lm.arpa")]) == 2
    assert "has no split 'test'; its splits are: dev, train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lm-weight", "1"], "--lm-weight weighs a language model, but there is none"),
        (["--beam", "0"], "width must be at least 1"),
        (["--lm", "lm.arpa", "--lm-weight", "-1"], "weight at least 0"),
        *((["--lm", "lm.arpa", f"--lm-weight={word}"], f"bonus finite, but they are 32, {word} and 1.0")
          for word in ("nan", "inf", "-inf")),
        *((["--bonus", word], f"bonus finite, but they are 32, 0.5 and {word}") for word in ("nan", "inf")),
        (["--format", "srt"], "a srt file holds one recording; name a folder for them with -o"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options, message, capsys):
    assert main(["recognize", "a.wav", "--model", "asr.safetensors", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_list_on_standard_input_is_read(tmp_path, monkeypatch, capsys):
    write_bundle(tmp_path / "asr.safetensors", *recognizer("logmel").export())
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    lines = f"{tmp_path / 'a.wav'}\n\n{tmp_path / 'b.wav'}\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["recognize", str(tmp_path / "c.wav"), "-", "--model", str(tmp_path / "asr.safetensors")]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["c", "a", "b"]


def test_texts_that_cannot_be_read_say_why(tmp_path, capsys):
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (tmp_path / "empty.txt").touch()
    for name, said in (
        ("missing.txt", "missing.txt: No such file or directory; name a file of texts"),
        (".", "Is a directory; name a file of texts"),
        ("latin.txt", "latin.txt: it must be UTF-8 ("),
        ("empty.txt", "needs text, but there is none; check the file"),
    ):
        assert main(["lm", str(tmp_path / name), "-o", str(tmp_path / "lm.arpa")]) == 2
        assert said in (found := capsys.readouterr().err)
        assert ("UTF-8" in found) == (name == "latin.txt")
