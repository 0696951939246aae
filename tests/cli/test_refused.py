"""Recordings that cannot be read: each is named, the rest is done, and the exit code says so."""

import json
import re
import shutil

import pytest

from speechunits.cli import main
from speechunits.units.bundle import write_bundle
from speechunits.units.units import Units
from tests.asr.tiny import recognizer


@pytest.fixture(scope="module")
def damaged(tiny_corpus, tmp_path_factory):
    """Return the tiny corpus with a recording of train and one of dev that stop midway, which no header tells."""
    place = tmp_path_factory.mktemp("damaged") / "corpus"
    shutil.copytree(tiny_corpus, place)
    lines = [line.split("\t") for line in (place / "manifest.tsv").read_text().splitlines()]
    split, audio = lines[0].index("split"), lines[0].index("audio")
    for name in ("train", "dev"):
        row = next(row for row in lines if row[split] == name)
        data = (place / row[audio]).read_bytes()
        (place / row[audio]).write_bytes(data[: len(data) // 2])
    return place


def rows(corpus, split):
    header, *lines = ((corpus / "manifest.tsv").read_text()).splitlines()
    place = header.split("\t").index("split")
    return [line.split("\t")[0] for line in lines if line.split("\t")[place] == split]


def test_units_are_fitted_on_the_rest(damaged, tiny_runs, tmp_path, capsys):
    out = tmp_path / "units.safetensors"
    command = ["units", "fit", str(tiny_runs / "tiny"), "--manifest", str(damaged / "manifest.tsv")]
    assert main([*command, "--clusters", "8", "--layer", "1", "-o", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count(f"refused: {rows(damaged, 'train')[0]}: ") == 1
    assert Units.load(out).clusters == 8
    model = tmp_path / "pseudotext.safetensors"
    command = ["pseudotext", "fit", "--model", str(out), "--manifest", str(damaged / "manifest.tsv")]
    assert main([*command, "--pieces", "30", "-o", str(model)]) == 1
    assert f"refused: {rows(damaged, 'train')[0]}: " in capsys.readouterr().err
    assert Units.load(model).has_pseudotext
    command = [
        "pseudotext",
        "stats",
        "--model",
        str(model),
        "--manifest",
        str(damaged / "manifest.tsv"),
        "--steps",
        "0",
    ]
    assert main(command) == 1
    assert f"refused: {rows(damaged, 'dev')[0]}: " in capsys.readouterr().err


def test_the_rest_is_measured(damaged, tiny_runs, tmp_path, capsys):
    units = str(tiny_runs / "tiny" / "units.safetensors")
    common = ["--manifest", str(damaged / "manifest.tsv"), "--phones", str(damaged / "phones.tsv")]
    assert main(["evaluate", "units", units, *common]) == 1
    said = capsys.readouterr()
    assert "PNMI" in said.out
    for split in ("train", "dev"):
        assert said.err.count(f"refused: {rows(damaged, split)[0]}: ") == 1
    abx = ["evaluate", "abx", *common, "--split", "train", "--span", "phoneme", "--max-group", "3"]
    assert main([*abx, "--distance", "edit", "--speaker", "within", units]) == 1
    assert main([*abx, "--speaker", "within", "mfcc"]) == 1
    probe = ["evaluate", "probe", "mfcc", *common, "--split", "train", "--label", "phone", "--seeds", "1"]
    assert main([*probe, "--examples", "200"]) == 1


def test_what_the_manifest_names_in_vain_is_1_even_where_it_is_all(tiny_corpus, tiny_runs, tmp_path, capsys):
    (tmp_path / "manifest.tsv").write_text("id\taudio\tduration\tsplit\na\tgone.wav\t1\ttrain\nb\tgone.wav\t1\tdev\n")
    (tmp_path / "phones.tsv").write_text("id\tstart\tend\tphone\na\t0\t1\tk\n")
    units = str(tiny_runs / "tiny" / "units.safetensors")
    manifest = ["--manifest", str(tmp_path / "manifest.tsv")]
    out = ["-o", str(tmp_path / "units.safetensors")]
    assert main(["units", "fit", "mfcc", *manifest, *out]) == 1
    assert "no recording of split 'train' can be used" in capsys.readouterr().err
    assert main(["evaluate", "units", units, *manifest, "--phones", str(tmp_path / "phones.tsv")]) == 1
    assert main(["pseudotext", "fit", "--model", units, *manifest, *out]) == 1
    # Where nothing was refused, an empty split is a wrong request.
    whole = ["--manifest", str(tiny_corpus / "manifest.tsv"), "--phones", str(tiny_corpus / "phones.tsv")]
    assert main(["evaluate", "units", units, *whole, "--split", "dve"]) == 2


def test_a_model_that_cannot_be_used_is_2_since_nothing_is_done_without_it(tiny_corpus, tiny_runs, tmp_path, capsys):
    take = str(min((tiny_corpus / "audio").rglob("*.flac")))
    encoder, units = (str(tiny_runs / "tiny" / name) for name in ("pretrain/encoder.safetensors", "units.safetensors"))
    asr = str(tmp_path / "asr.safetensors")
    write_bundle(tmp_path / "asr.safetensors", *recognizer("logmel").export())
    manifest = ["--manifest", str(tiny_corpus / "manifest.tsv")]
    phones = [*manifest, "--phones", str(tiny_corpus / "phones.tsv")]
    picture = ["picture", rows(tiny_corpus, "dev")[0], *manifest, "-o", str(tmp_path / "p.png"), "--model"]
    gone = str(tmp_path / "gone")
    for command in (
        *(["info", name] for name in (gone, str(tmp_path))),
        *(["transcribe", take, "--model", name] for name in (gone, encoder)),
        *(["recognize", take, "--model", name] for name in (gone, units)),
        ["recognize", take, "--model", asr, "--lm", gone],
        *(["export", name, "--onnx", str(tmp_path / "u.onnx")] for name in (gone, asr)),
        *([*picture, name] for name in (gone, encoder)),
        *(["evaluate", "units", units, name, *phones] for name in (gone, encoder)),
        ["evaluate", "abx", "mfcc", gone, *phones],
        ["evaluate", "asr", units, *manifest],
        ["units", "fit", gone, *manifest, "-o", str(tmp_path / "u")],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr()
        assert not said.out
        assert re.search(r"cannot (write or )?read |must be a bundle of kind ", said.err), command


def test_probes_whose_examples_cannot_be_read_are_left_out_with_the_reason(tiny_corpus, tmp_path, capsys):
    table = [line.split("\t") for line in (tiny_corpus / "manifest.tsv").read_text().splitlines()]
    for name in ("id", "audio"):
        assert name in table[0]
    lines = [["id", "audio", "duration", "split", "speaker"]]
    for index, row in enumerate(table[1:5]):
        source = tiny_corpus / row[table[0].index("audio")]
        (tmp_path / f"{index}.flac").write_bytes(source.read_bytes()[: None if index < 2 else 9_000])
        duration = row[table[0].index("duration")]
        lines.append([f"r{index}", f"{index}.flac", duration, "train" if index < 2 else "dev", "ab"[index % 2]])
    (tmp_path / "manifest.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    command = ["evaluate", "probe", "mfcc", "--manifest", str(tmp_path / "manifest.tsv"), "--fit-split", "train"]
    assert main([*command, "--label", "speaker", "--seeds", "1", "--examples", "50"]) == 1
    assert "speaker: no example of one side could be read" in capsys.readouterr().err


def test_names_and_results_that_would_hide_each_other(tiny_corpus, tiny_runs, tmp_path, capsys):
    units = str(tiny_runs / "tiny" / "units.safetensors")
    common = ["--manifest", str(tiny_corpus / "manifest.tsv"), "--phones", str(tiny_corpus / "phones.tsv")]
    for measure in ("units", "abx"):
        assert main(["evaluate", measure, f"a={units}", f"a={units}", *common]) == 2
        assert "two are 'a'" in capsys.readouterr().err
        assert main(["evaluate", measure, "a=", *common]) == 2
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "abx", "mfcc", *common, "-o", str(tmp_path / "r.md")])
    assert end.value.code == 2
    assert "r.json" in capsys.readouterr().err
    # A name with an equals sign is a path where there is one.
    folder = tmp_path / "rate=1"
    shutil.copytree(tiny_runs / "tiny", folder)
    out = tmp_path / "r.json"
    abx = ["evaluate", "abx", str(folder), *common, "--layer", "1", "--max-group", "2", "--split", "train"]
    assert main([*abx, "--span", "phoneme", "--speaker", "within", "-o", str(out)]) == 0
    assert [row["source"] for row in json.loads(out.read_text())["scores"]] == [str(folder)]


def test_a_pseudotext_model_is_of_one_manifest(tiny_corpus, tiny_runs, tmp_path, capsys):
    model, other = tmp_path / "units.safetensors", tmp_path / "other" / "manifest.tsv"
    shutil.copy(tiny_runs / "tiny" / "units.safetensors", model)
    shutil.copytree(tiny_corpus, other.parent)
    command = ["pseudotext", "fit", "--model", str(model), "--pieces", "30", "--manifest"]
    said = []
    other.write_text("\n".join(other.read_text().splitlines()[:-1]) + "\n")
    for manifest in (tiny_corpus / "manifest.tsv", tiny_corpus / "manifest.tsv", other, other):
        assert main([*command, str(manifest)]) == 0
        said.append("is there already" in capsys.readouterr().err)
    assert said == [False, True, False, True]
    out = ["-o", str(tmp_path / "copy.safetensors")]
    for there in (False, True):
        assert main([*command, str(other), *out]) == 0
        assert ("is there already" in capsys.readouterr().err) == there
