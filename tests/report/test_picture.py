"""The picture of a sentence: what is loud is bright, and the command draws it."""

import numpy as np
import pytest
import soundfile

from speechunits.audio.manifest import Recording, write_manifest
from speechunits.audio.phones import Phone, write_phones
from speechunits.cli import main
from speechunits.config import UnitsConfig
from speechunits.report.picture import decibels, plot_sentence
from speechunits.units.fit import fit_units
from speechunits.units.transcript import Span

pytest.importorskip("matplotlib")


def tone(hertz, samples=16_000):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)).astype(np.float32)


def test_a_tone_is_loudest_where_it_lies():
    levels = decibels(np.concatenate([tone(1_000), np.zeros(8_000, np.float32), tone(4_000)]))
    assert levels.shape == (257, 501)
    assert levels.max() == 0
    assert levels.min() == -65
    assert levels[:, 50].argmax() == 32
    assert levels[:, 450].argmax() == 128
    assert (levels[:, 230:270] == -65).all()
    assert np.isfinite(decibels(np.zeros(400, np.float32))).all()


def test_equal_input_gives_equal_bytes(tmp_path):
    phones = [Phone(0, 0.4, "SIL"), Phone(0.4, 1, "ʃ")]
    units = [Span(0, 0.5, "3", None), Span(0.5, 1, "12", None)]
    for name in ("a.png", "b.png"):
        plot_sentence(tone(500), phones, units, tmp_path / name, title="ŋa")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["it costs $x^$ y", "tip: $5 not $6"])
def test_dollars_are_no_mathematics(tmp_path, text):
    plot_sentence(tone(500), [Phone(0, 1, text)], [], tmp_path / "a.png", title=text)
    assert (tmp_path / "a.png").stat().st_size > 5_000


def test_the_command_draws_a_recording(tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / "a.wav", tone(700), 16_000)
    row = Recording(id="a", audio=tmp_path / "a.wav", duration_s=1.0, split="train")
    write_manifest(tmp_path / "m.tsv", [row])
    write_phones(tmp_path / "p.tsv", {"a": [Phone(0.1, 0.9, "e")]})
    fit_units(None, [row], UnitsConfig(source="mfcc", clusters=2), path=tmp_path / "u.safetensors")
    units = ["--manifest", str(tmp_path / "m.tsv"), "--model", str(tmp_path / "u.safetensors")]
    command = [*units, "--phones", str(tmp_path / "p.tsv"), "-o", str(tmp_path / "a.png")]
    assert main(["picture", "a", *command]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert main(["picture", "b", *command]) == 2
    assert "must hold b" in capsys.readouterr().err
    for name in ("b.PNG", "b.svg", "b.pdf", "b.jpg"):
        assert main(["picture", "a", *units, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 5_000
    for name in ("a.xyz", "a"):
        assert main(["picture", "a", *units, "-o", str(tmp_path / name)]) == 2
        assert "a picture must end in one of .png, .pdf, .svg" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["picture", "a", *units, "-o", str(tmp_path / "a.png")]) == 2
    assert "a picture needs matplotlib, which is not installed; pip install" in capsys.readouterr().err
