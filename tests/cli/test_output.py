"""Where results go: never over an input, and what cannot be written is said before the work."""

import shutil

import numpy as np
import pytest
import soundfile

from speechunits.cli import main


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    soundfile.write(place / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    (place / "a.txt").write_text("one word")
    (place / "train.tsv").write_text("client_id\tpath\tsentence\n")
    return place


def test_a_manifest_never_replaces_what_is_read(folder, tmp_path, capsys):
    content = {path: path.read_bytes() for path in folder.iterdir()}
    for name in ("a.wav", "b.eaf", "b.textgrid"):
        assert main(["manifest", str(folder), "-o", str(folder / name)]) == 2
        assert "must not be named like a recording or an annotation file" in capsys.readouterr().err
    for name in ("a.txt", "train.tsv"):
        assert main(["manifest", str(folder), "-o", str(folder / name)]) == 2
        assert f"-o {folder / name} is there already, in a folder that is read" in capsys.readouterr().err
    fairseq = tmp_path / "list.tsv"
    fairseq.write_text(f"{folder}\na.wav\t8000\n")
    assert main(["manifest", str(fairseq), "-o", str(fairseq)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert content == {path: path.read_bytes() for path in folder.iterdir()}
    # One's own manifest may lie there, and be made again.
    assert main(["manifest", str(folder), "-o", str(folder / "m.tsv")]) == 0
    assert main(["manifest", str(folder), "-o", str(folder / "m.tsv")]) == 0


def test_a_language_model_never_replaces_its_texts(folder, tmp_path, capsys):
    text = folder / "a.txt"
    (tmp_path / "link").symlink_to(text)
    for out in (text, tmp_path / "link"):
        assert main(["lm", str(text), "-o", str(out)]) == 2
        assert "is one of the inputs" in capsys.readouterr().err
    assert text.read_text() == "one word"


def test_a_report_never_replaces_what_it_shows(tiny_corpus, tiny_runs, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_runs / "tiny" / "recipe.yaml", run)
    manifest = tmp_path / "m.tsv"
    shutil.copy(tiny_corpus / "manifest.tsv", manifest)
    before = (run / "recipe.yaml").read_text(), manifest.read_text()
    command = ["report", str(run), "--manifest", str(manifest), "-o"]
    for out, said in (
        (run / "recipe.yaml", "in a folder that is read"),
        (manifest, "is one of the inputs"),
        (tmp_path / "page.wav", "named like a recording"),
        (tmp_path / "page.TextGrid", "named like a recording"),
        (tmp_path, "must be a file, but is a folder"),
    ):
        assert main([*command, str(out)]) == 2
        assert said in capsys.readouterr().err
    assert ((run / "recipe.yaml").read_text(), manifest.read_text()) == before
