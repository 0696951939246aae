"""A user's way through the commands, from a folder of recordings to a recogniser, in one process."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from speechunits import sweep
from speechunits.audio.manifest import read_manifest
from speechunits.audio.textgrid import read_textgrid
from speechunits.cli import main
from tests.spine import write_recipe


@pytest.fixture
def bad_folder(tmp_path):
    """Return a folder of six good recordings, a text, and an empty file."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        samples = np.random.default_rng(index).normal(0, 0.1, 16_000)
        soundfile.write(folder / f"good{index}.wav", samples, 16_000)
    (folder / "renamed.wav").write_text("this is no audio")
    (folder / "empty.flac").touch()
    return folder


def test_manifest_names_bad_files_and_does_the_rest(bad_folder, tmp_path, capsys):
    assert main(["manifest", str(bad_folder), "-o", str(tmp_path / "m.tsv")]) == 1
    error = capsys.readouterr().err
    assert "refused: renamed.wav: " in error
    assert "refused: empty.flac: " in error
    assert len(read_manifest(tmp_path / "m.tsv")) == 6
    (bad_folder / "renamed.wav").unlink()
    (bad_folder / "empty.flac").unlink()
    assert main(["manifest", str(bad_folder), "-o", str(tmp_path / "m.tsv")]) == 0
    assert main(["manifest", str(tmp_path / "gone"), "-o", str(tmp_path / "n.tsv")]) == 2


def test_transcribe_names_a_bad_file_and_writes_the_rest(bad_folder, tiny_runs, tmp_path, capsys):
    model = str(tiny_runs / "tiny" / "units.safetensors")
    out = tmp_path / "out"
    assert main(["transcribe", str(bad_folder), "--model", model, "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert "renamed" in error
    assert "empty" in error
    assert sorted(path.name for path in out.glob("*.txt")) == [f"good{index}.txt" for index in range(6)]
    good = str(bad_folder / "good0.wav")
    assert main(["transcribe", good, "--model", model, "--frames"]) == 0
    assert len(capsys.readouterr().out.split("\t")[1].split()) == 49
    assert main(["transcribe", good, "--model", model, "--format", "textgrid"]) == 2
    assert main(["transcribe", good, "--model", good]) == 2


@pytest.fixture(scope="module")
def prepared(tiny_corpus, tiny_runs, tmp_path_factory):
    """Return a folder with a recipe whose encoder is trained."""
    folder = tmp_path_factory.mktemp("journey")
    shutil.copytree(tiny_runs, folder / "runs")
    return write_recipe(folder / "recipe.yaml", tiny_corpus, folder / "runs")


def test_from_recordings_to_units(tiny_corpus, tmp_path, capsys):
    recordings = tmp_path / "recordings"
    for row in read_manifest(tiny_corpus / "manifest.tsv"):
        if row.split in ("train", "dev"):
            target = recordings / row.speaker / row.audio.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(row.audio, target)
            target.with_suffix(".txt").write_text(row.text)
    manifest, units = tmp_path / "m.tsv", tmp_path / "units.safetensors"
    assert main(["manifest", str(recordings), "-o", str(manifest)]) == 0
    assert {row.split for row in read_manifest(manifest)} == {"train", "tune", "dev", "test"}
    recipe = write_recipe(
        tmp_path / "r.yaml", tmp_path, tmp_path / "runs", corpus={"manifest": str(manifest), "phones": None}
    )
    assert main(["pretrain", str(recipe), "pretrain.budget.hours=0.01"]) == 0
    run = tmp_path / "runs" / "tiny"
    assert (
        main(
            ["units", "fit", str(run), "--manifest", str(manifest), "--clusters", "8", "--layer", "1", "-o", str(units)]
        )
        == 0
    )
    said = capsys.readouterr().err
    for line in (f"{run / 'pretrain' / 'encoder.safetensors'}: the encoder", f"{units}: 8 units"):
        assert line in said.splitlines()
    fit = ["pseudotext", "fit", "--model", str(units), "--manifest", str(manifest), "--pieces"]
    assert main([*fit, "20"]) == 0
    assert f"{units}: pseudo-text of 20 pieces, " in (said := capsys.readouterr().err)
    assert "asked for" not in said
    assert main([*fit, "100000"]) == 0
    assert "not the 100000 asked for: no more sequences of units recur often enough" in capsys.readouterr().err
    assert main([*fit, "20"]) == 0
    capsys.readouterr()
    take = str(next(recordings.rglob("*.flac")))
    assert main(["transcribe", take, "--model", str(units), "--bpe"]) == 0
    pieces = capsys.readouterr().out.split("\t")[1].split()
    assert main(["transcribe", take, "--model", str(units), "--format", "jsonl"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [int(unit) for piece in pieces for unit in piece.split("-")] == found["units"]


def test_from_labels_to_a_recogniser(prepared, tiny_corpus, capsys):
    run, manifest = prepared.parent / "runs" / "tiny", str(tiny_corpus / "manifest.tsv")
    assert main(["finetune", str(prepared)]) == 0
    asr = str(run / "asr.safetensors")
    said = capsys.readouterr().err
    assert "pretrained-0.5-0: CER" in said
    assert f"{asr}: the recogniser" in said.splitlines()
    assert "replaced" not in said
    takes = [str(row.audio) for row in read_manifest(tiny_corpus / "manifest.tsv")[:2]]
    assert main(["recognize", *takes, "--model", asr, "--format", "jsonl"]) == 0
    heard = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["duration_s"] > 0 for line in heard] == [True, True]
    assert main(["recognize", takes[0], str(run / "gone.wav"), "--model", asr, "-o", str(run / "texts")]) == 1
    assert len(list((run / "texts").rglob("*.txt"))) == 1
    capsys.readouterr()
    assert main(["evaluate", "asr", asr, "--manifest", manifest]) == 0
    assert "recordings: CER " in capsys.readouterr().out
    assert main(["finetune", str(prepared), "--minutes", "1", "--side", "logmel", "--label-seed", "1"]) == 0
    assert len(list((run / "cells").glob("logmel-1-1-*.json"))) == 1
    said = capsys.readouterr().err
    assert f"the one that was there before is replaced; {run / 'cells'} keeps its scores, not its weights" in said
    assert main(["finetune", str(prepared), "--minutes", "100"]) == 2
    assert "100" in capsys.readouterr().err


def test_baselines_need_no_pretraining(tiny_corpus, tiny_runs, tmp_path, capsys, monkeypatch):
    called = []

    def run_cell(cell, setting, *, keep):
        called.append((cell, setting))
        return []

    monkeypatch.setattr("speechunits.sweep.run_cell", run_cell)
    recipe = str(write_recipe(tmp_path / "none.yaml", tiny_corpus, tmp_path / "none"))
    for side in ("logmel", "untrained"):
        assert main(["finetune", recipe, "--side", side, "--minutes", "all"]) == 0
    assert main(["finetune", recipe, "--side", "logmel"]) == 0
    assert [cell.name for cell, _ in called] == ["logmel-all-0", "untrained-all-0", "logmel-0.5-0"]
    # What the sweep would make of the encoder it finds is what the recipe says of it.
    shutil.copytree(tiny_runs, tmp_path / "made")
    made = str(write_recipe(tmp_path / "made.yaml", tiny_corpus, tmp_path / "made"))
    assert main(["finetune", made, "--side", "untrained", "--minutes", "all"]) == 0
    (_, without), (cell, found) = called[1], called[3]
    assert without.encoder is None
    assert found.encoder is not None
    assert sweep._config(cell, without) == sweep._config(cell, found)
    for side, missing in (("pretrained", "encoder"), ("units", "units")):
        assert main(["finetune", recipe, "--side", side]) == 2
        assert f"{missing}.safetensors does not exist yet" in capsys.readouterr().err


def test_all_labels_are_all_of_train(prepared, capsys):
    assert main(["finetune", str(prepared), "--minutes", "all", "--side", "logmel"]) == 0
    assert "logmel-all-0: CER" in capsys.readouterr().err


def test_units_are_measured_side_by_side(prepared, tiny_corpus, tmp_path, capsys):
    run = prepared.parent / "runs" / "tiny"
    bundles = [str(run / name) for name in ("units.safetensors", "mfcc.safetensors")]
    out = tmp_path / "quality"
    arguments = ["--manifest", str(tiny_corpus / "manifest.tsv"), "--phones", str(tiny_corpus / "phones.tsv")]
    assert main(["evaluate", "units", bundles[0], f"baseline={bundles[1]}", *arguments, "-o", str(out)]) == 0
    table = capsys.readouterr().out
    assert table.startswith(f"| figure | {bundles[0]} | baseline |")
    assert (out / "units.md").read_text() == table.rstrip("\n") + "\n"
    measures = json.loads((out / "units.json").read_text())["measures"]
    assert sorted(measures) == sorted([bundles[0], "baseline"])
    assert [(out / f"phones-{index}.png").stat().st_size > 1000 for index in range(2)] == [True, True]
    # Without a bundle of MFCC, one of the same size is fitted and stands beside.
    assert main(["evaluate", "units", bundles[0], *arguments, "-o", str(tmp_path / "alone")]) == 0
    assert f"| MFCC, K = {measures['baseline']['clusters']} |" in capsys.readouterr().out
    assert main(["evaluate", "units", *bundles, bundles[0], *arguments]) == 2
    assert main(["evaluate", "units", *bundles, *arguments, "--split", "none"]) == 2


def test_pseudotext_is_described_and_marked_in_time(prepared, tiny_corpus, tmp_path, capsys):
    run = prepared.parent / "runs" / "tiny"
    phones = str(tiny_corpus / "phones.tsv")
    command = ["pseudotext", "stats", "--model", str(run / "units.safetensors"), "--manifest",
               str(tiny_corpus / "manifest.tsv"), "--phones", phones, "--words", phones, "--steps", "5",
               "-o", str(tmp_path)]  # fmt: skip
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "| words, by random |" in table
    figures = json.loads((tmp_path / "pseudotext.json").read_text())
    assert figures["words"] == figures["phones"]
    assert 0 < figures["ngram_bits_a_unit"] < 2 * figures["entropy_bits"]
    assert figures["recurrent_bits_a_unit"] > 0
    place = figures["candidates"][0]["places"][0]
    grid = read_textgrid(tmp_path / "textgrid" / f"{place['id']}.TextGrid")
    marked = [row for row in grid.tier("word candidates") if row.text == figures["candidates"][0]["piece"]]
    assert any(abs(row.start_s - place["start_s"]) < 1e-3 for row in marked)
    assert {row.text for row in grid.tier("word candidates")} <= {"", *(row["piece"] for row in figures["candidates"])}
    mfcc = ["pseudotext", "stats", "--model", str(run / "mfcc.safetensors"), "--manifest", command[5]]
    assert main(mfcc) == 2
    assert "no pseudo-text model" in capsys.readouterr().err


def test_layers_are_judged_side_by_side(prepared, tiny_corpus, tmp_path, capsys):
    run, out = prepared.parent / "runs" / "tiny", tmp_path / "layers.json"
    corpus = ["tiny", str(tiny_corpus / "manifest.tsv"), str(tiny_corpus / "phones.tsv")]
    command = ["evaluate", "layers", f"mine={run}", "--corpus", *corpus, "--clusters", "6", "-o", str(out)]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "| mine, tiny, K = 6 |" in table
    assert (tmp_path / "layers.md").read_text().strip() == table.strip()
    before = out.stat().st_mtime_ns
    assert main(command) == 0  # what is there is kept
    assert out.stat().st_mtime_ns == before
