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


def test_what_cannot_be_written_is_said_before_the_work(folder, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr("speechunits.audio.importing.scan", never)
    monkeypatch.setattr("speechunits.fitting.fit_units", never)
    (tmp_path / "m.tsv").write_text("id\taudio\tduration\tsplit\na\tin/a.wav\t.5\ttrain\n")
    fit = ["units", "fit", "mfcc", "--manifest", str(tmp_path / "m.tsv"), "-o"]
    for command in (["manifest", str(folder), "-o"], fit):
        assert main([*command, str(tmp_path)]) == 2
        assert f"{tmp_path} must be a file, but is a folder" in capsys.readouterr().err
        assert main([*command, str(tmp_path / "m.tsv" / "deep" / "u.safetensors")]) == 2
        assert f"{tmp_path / 'm.tsv'} must be a folder, but a file is in its place" in capsys.readouterr().err
        with monkeypatch.context() as patched:
            patched.setattr("os.access", lambda path, mode: str(path) != str(tmp_path))
            assert main([*command, str(tmp_path / "new" / "u.safetensors")]) == 2
        assert f"{tmp_path} may not be written into" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_what_the_system_refuses_is_named(folder, tmp_path, monkeypatch, capsys):
    # Nobody may write there, not even root.
    assert main(["lm", str(folder / "a.txt"), "-o", "/proc/lm.arpa"]) == 2
    assert "speechunits: cannot write" in (said := capsys.readouterr().err)
    assert "/proc/lm.arpa: " in said

    def refused(error):
        def run(*_, **__):
            raise error

        monkeypatch.setattr("speechunits.evaluation.language.read_texts", run)
        return main(["lm", "texts.txt", "-o", str(tmp_path / "lm.arpa")])

    assert refused(PermissionError(13, "Permission denied", b"caf\xe9")) == 2
    said = capsys.readouterr().err
    assert said.startswith("speechunits: cannot write or read caf\\udce9: Permission denied; check the path, its")
    assert refused(OSError(28, "No space left on device", "lm.arpa")) == 1
    assert "the disk is full (lm.arpa)" in capsys.readouterr().err
    with pytest.raises(ConnectionResetError):
        refused(ConnectionResetError(104, "Connection reset by peer"))


@pytest.mark.parametrize(
    ("command", "out", "said"),
    [
        ("transcribe", "-", "-o must name a folder, but is -; leave out -o for standard output"),
        ("recognize", "-", "-o must name a folder, but is -; leave out -o for standard output"),
        ("convert", "-", "-o must name a folder, or a file that ends in .eaf, but is -; nothing goes to standard"),
        ("transcribe", "out.jsonl", "-o must name a folder, but out.jsonl is named like a file of .jsonl; rename it"),
        ("recognize", "out.SRT", "-o must name a folder, but out.SRT is named like a file of .srt; rename it"),
        ("convert", "out.txt", "or a file that ends in .eaf, but out.txt is named like a file of .txt; rename it"),
    ],
)
def test_texts_go_into_no_folder_that_looks_like_a_file(tmp_path, monkeypatch, capsys, command, out, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"id": "a", "duration_s": 0.1, "runs": []}\n')
    options = ["--format", "eaf"] if command == "convert" else ["--model", "m.safetensors"]
    assert main([command, "in.jsonl", *options, "-o", out]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    if command == "convert":
        assert main([command, "in.jsonl", *options, "-o", "out.EAF"]) == 0
        (tmp_path / "named.txt").mkdir()
        assert main([command, "in.jsonl", *options, "-o", "named.txt"]) == 0
        assert (tmp_path / "named.txt" / "a.eaf").exists()


@pytest.mark.parametrize("option", ["--manifest", "--phones", "--units", "--also"])
def test_a_report_of_what_is_not_there_is_2(tiny_runs, tmp_path, capsys, option):
    missing = tmp_path / "nope.tsv"
    out = tmp_path / "page.html"
    assert main(["report", str(tiny_runs / "tiny"), option, str(missing), "-o", str(out)]) == 2
    assert f"{option} {missing} does not exist; check the path" in capsys.readouterr().err
    assert not out.exists()


def test_a_layer_that_is_none_is_named(tiny_corpus, tiny_runs, tmp_path, capsys):
    fit = ["units", "fit", str(tiny_runs / "tiny"), "--manifest", str(tiny_corpus / "manifest.tsv")]
    for word in ("last", "²"):
        assert main([*fit, "--layer", word, "-o", str(tmp_path / "u.safetensors")]) == 2
        assert f"layer must be a number or auto, but is {word!r} instead" in capsys.readouterr().err
