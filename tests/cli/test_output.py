"""Where results go: never over an input, and what cannot be written is said before the work."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechunits.cli import main
from speechunits.units.bundle import write_bundle


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
        assert f"-o {folder / name} is there already, and not what this command writes" in capsys.readouterr().err
    fairseq = tmp_path / "list.tsv"
    fairseq.write_text(f"{folder}\na.wav\t8000\n")
    assert main(["manifest", str(fairseq), "-o", str(fairseq)]) == 2
    assert "is one of the inputs" in capsys.readouterr().err
    assert content == {path: path.read_bytes() for path in folder.iterdir()}
    # One's own manifest may lie there, and be made again.
    assert main(["manifest", str(folder), "-o", str(folder / "m.tsv")]) == 0
    assert main(["manifest", str(folder), "-o", str(folder / "m.tsv")]) == 0


def test_a_manifest_that_was_edited_is_kept(folder, tmp_path, capsys):
    out = tmp_path / "m.tsv"
    make = ["manifest", str(folder), "-o", str(out)]
    assert main(make) == main(make) == 0
    assert list(tmp_path.glob("*.tsv")) == [out]
    edited = out.read_text().replace("one word", "another word")
    out.write_text(edited)
    os.utime(out, (0, 0))
    capsys.readouterr()
    assert main(make) == 0
    (kept,) = set(tmp_path.glob("*.tsv")) - {out}
    assert f"was there already, and said something else: that is kept as {kept}" in capsys.readouterr().err
    assert kept.read_text() == edited
    assert kept.name.startswith("m.1970-01-01T") or kept.name.startswith("m.1969-12-31T")
    assert "one word" in out.read_text()


def test_a_file_of_another_kind_is_never_replaced(folder, tmp_path, capsys):
    own = tmp_path / "thesis.txt"
    own.write_text("ten years")
    (tmp_path / "m.tsv").write_text("id\taudio\tduration\tsplit\na\tin/a.wav\t.5\ttrain\n")
    fit = ["units", "fit", "mfcc", "--manifest", str(tmp_path / "m.tsv")]
    for command in (["manifest", str(folder)], ["lm", str(folder / "a.txt")], fit, ["report", str(folder)]):
        assert main([*command, "-o", str(own)]) == 2
        assert f"-o {own} is there already, and not what this command writes" in capsys.readouterr().err
    assert own.read_text() == "ten years"
    model = tmp_path / "own.arpa"
    assert main(["lm", str(folder / "a.txt"), "-o", str(model)]) == 0
    assert main(["lm", str(folder / "a.txt"), "-o", str(model)]) == 0


def test_pipes_and_protected_files_stay(folder, tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / "pipe.arpa")
    command = ["lm", str(folder / "a.txt"), "-o"]
    assert main([*command, str(tmp_path / "pipe.arpa")]) == 2
    assert "pipe.arpa must be a file, but is a device or a pipe" in capsys.readouterr().err
    assert (tmp_path / "pipe.arpa").is_fifo()
    # Whoever is root may write to a protected file.
    protected = tmp_path / "own.arpa"
    protected.write_text("\\data\\ protected")
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != protected and allowed(path, mode))
    assert main([*command, str(protected)]) == 2
    assert "own.arpa is there already, and may not be written to" in capsys.readouterr().err
    assert protected.read_text() == "\\data\\ protected"


def test_through_a_link_the_file_behind_it_is_written(folder, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "m.tsv"
    for target in ("real/m.tsv", "real/new.tsv"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert main(["manifest", str(folder), "-o", str(link)]) == 0
        assert link.is_symlink()
        assert "one word" in (tmp_path / target).read_text()


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
        (run / "recipe.yaml", "not what this command writes"),
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
    assert refused(OSError(28, "No space left on device", "lm.arpa")) == 2
    assert "the disk is full (lm.arpa)" in capsys.readouterr().err
    with pytest.raises(ConnectionResetError):
        refused(ConnectionResetError(104, "Connection reset by peer"))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_2_and_no_traceback(tiny_runs, unbuffered):
    command = [sys.executable, "-c", "import sys; from speechunits.cli import main; sys.exit(main())"]
    command += ["info", str(tiny_runs / "tiny" / "units.safetensors")]
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - it is no file, and must never be replaced by one
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                              env={**os.environ, "PYTHONUNBUFFERED": unbuffered})  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("speechunits: the disk is full (perhaps the one that standard output goes to)")
    assert len(done.stderr.splitlines()) == 1


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
    (tmp_path / "in.jsonl").write_text('{"id": "a", "duration_s": 0.02, "runs": []}\n')
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
        assert f"layer: must be auto or a whole number, but is {word!r} instead" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["compare", "pretrain.budget.hours=1", "-o", "c"], "name a recipe to compare"),
        (["compare", "r.yaml", "-o", "damaged"], "damaged/results.json is damaged"),
        (["compare", "r.yaml", "-o", "other"], "must hold a comparison, but holds other results"),
        (["pseudotext", "fit", "--model", "u", "--manifest", "m.tsv", "--pieces", "0"], "pieces must be at least 1"),
    ],
)
def test_plausible_mistakes_are_2_and_no_traceback(tmp_path, monkeypatch, capsys, command, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text("name: x\ncorpus: {manifest: m.tsv}\n")
    for name, text in (("damaged", '{"rows": ['), ("other", '{"rows": [1]}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    assert main(command) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--max-group", "-1"], ["--max-group", "0"], ["--max-other-speakers", "-1"]],
)  # fmt: skip
def test_counts_that_are_none_are_refused(words, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["evaluate", "abx", "mfcc", "--manifest", "m.tsv", "--phones", "p.tsv", *words])
    assert refused.value.code == 2
    assert "must be a whole number of at least" in capsys.readouterr().err


def test_letters_that_standard_output_has_not_are_named(tmp_path, monkeypatch, capsys):
    bundle = tmp_path / "encoder.safetensors"
    write_bundle(bundle, {"a": torch.zeros(1)}, {"kind": "encoder", "note": "\u025b"})
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert main(["info", str(bundle)]) == 2
    assert "latin-1 has no \\u025b, which is to be written; PYTHONUTF8=1 before" in capsys.readouterr().err


def test_what_evaluate_writes_beside_replaces_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("m.tsv", "notes.md", "words.tsv"):
        Path(name).write_text(f"somebody's {name}")
    abx = ["evaluate", "abx", "mfcc", "--manifest", "m.tsv", "--phones", "p.tsv"]
    assert main([*abx, "--save-items", "m.tsv"]) == 2
    assert "m.tsv is one of the inputs" in capsys.readouterr().err
    assert main([*abx, "--save-items", "words.tsv"]) == 2
    assert "words.tsv is there already, and not what this command writes" in capsys.readouterr().err
    assert main([*abx, "-o", "notes.json"]) == 2
    assert "notes.md is there already, and not what this command writes" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: f"somebody's {name}" for name in ("m.tsv", "notes.md", "words.tsv")
    }


def test_units_never_replace_a_bundle_of_another_kind(tiny_runs, tmp_path, capsys):
    encoder = tmp_path / "keep.safetensors"
    write_bundle(encoder, {"a": torch.zeros(1)}, {"kind": "encoder"})
    before = encoder.read_bytes()
    (tmp_path / "m.tsv").write_text("id\taudio\tduration\tsplit\na\ta.wav\t.5\ttrain\n")
    units = str(tiny_runs / "tiny" / "units.safetensors")
    for command in (["pseudotext", "fit", "--model", units], ["units", "fit", "mfcc"]):
        assert main([*command, "--manifest", str(tmp_path / "m.tsv"), "-o", str(encoder)]) == 2
        assert "keep.safetensors is there already, and not what this command writes" in capsys.readouterr().err
    assert encoder.read_bytes() == before
