"""What every command says: help without heavy imports, usage and configuration faults, bundles."""

import argparse
import io
import json
import subprocess
import sys

import pytest

from speechunits import __version__
from speechunits.cli import main, make_parser
from tests.spine import write_recipe

COMMANDS = (
    ["synth"], ["manifest"], ["run"], ["pretrain"], ["units", "fit"], ["transcribe"], ["evaluate", "units"],
    ["evaluate", "asr"], ["evaluate", "layers"], ["evaluate", "abx"], ["evaluate", "probe"], ["pseudotext", "stats"],
    ["pseudotext", "fit"], ["pseudotext", "encode"], ["pseudotext", "decode"], ["finetune"],
    ["recognize"], ["lm"], ["reduction"], ["report"], ["compare"], ["info"], ["convert"], ["picture"], ["doctor"],
)  # fmt: skip


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom speechunits.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    heavy = {'torch', 'numpy', 'fairseq2', 'librosa', 'faiss', 'soundfile', 'yaml', 'rich', 'scipy'}\n"
        "    print(end.code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert "exit codes:" in done.stdout
    for command in COMMANDS:
        assert command[0] in done.stdout


@pytest.mark.parametrize("command", [[], ["units"], ["evaluate"], ["pseudotext"], *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"usage: speechunits {' '.join(command)}".strip() in capsys.readouterr().out


def parsers(parser):
    """Yield a parser and those of its verbs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from parsers(verb)


@pytest.mark.parametrize("parser", list(parsers(make_parser())), ids=lambda parser: parser.prog)
def test_every_option_explains_itself(parser):
    options = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    assert not [action.option_strings or action.dest for action in options if not action.help]


@pytest.mark.parametrize("command", ["recognize", "transcribe"])
def test_that_globs_are_read_is_in_the_help(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "globs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["sing"], ["units"], ["transcribe", "a.wav"], ["transcribe", "a.wav", "--model", "m", "--format", "midi"],
        ["run", "r.yaml", "--only", "everything"], ["finetune", "r.yaml", "--minutes", "few"], ["synth"],
        ["reduction", "r.yaml", "--unknown"], ["report", "runs/x"],
        ["synth", "out", "--seed", "-1"], ["manifest", "in", "-o", "m.tsv", "--seed", "-1"],
        ["finetune", "r.yaml", "--label-seed", "-1"], ["compare", "r.yaml", "-o", "out", "--seeds", "0"],
        ["compare", "r.yaml", "-o", "out", "--minutes", "0"], ["compare", "r.yaml", "-o", "out", "--minutes", "1e400"],
        ["units", "fit", "mfcc", "--manifest", "m.tsv", "-o", "u", "--restarts", "0"],
        ["units", "fit", "mfcc", "--manifest", "m.tsv", "-o", "u", "--seed", "-1"],
        ["evaluate", "probe", "mfcc", "--manifest", "m.tsv", "--seeds", "0"],
        ["evaluate", "abx", "mfcc", "--manifest", "m.tsv", "--phones", "p.tsv", "--seed", "-1"],
    ],
)  # fmt: skip
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: speechunits" in capsys.readouterr().err


def test_overrides_are_not_named_among_what_is_required(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain"])
    assert capsys.readouterr().err.endswith("the following arguments are required: RECIPE.yaml\n")


@pytest.mark.parametrize("minutes", ["few", "-3", "0", "nan", "inf"])
def test_what_is_no_label_budget_is_named(minutes, capsys):
    with pytest.raises(SystemExit):
        main(["finetune", "r.yaml", "--minutes", minutes])
    assert f"must be minutes of labels, such as 6, or all, but is '{minutes}'" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"speechunits {__version__}\n"


@pytest.mark.parametrize("command", ["run", "pretrain", "finetune", "reduction"])
def test_all_faults_of_a_recipe_are_listed(command, tmp_path, capsys):
    recipe = write_recipe(
        tmp_path / "recipe.yaml", tmp_path, tmp_path / "runs", pretrain={"learnr": "wav2vec2", "seed": "one"},
        units={"clusters": 1.5}, corpus={"manifest": 7}, reduction={"finetune": {"side": "left"}},
    )  # fmt: skip
    assert main([command, str(recipe), "pretrain.budget.hours=long"]) == 2
    error = capsys.readouterr().err
    assert "6 fault(s)" in error
    for fault in ("pretrain.learnr: unknown key", "pretrain.seed: must be a whole number", "units.clusters: must be",
                  "corpus.manifest: must be a path", "reduction.finetune.side: must be one of",
                  "pretrain.budget.hours: must be a number"):  # fmt: skip
        assert fault in error
    assert not (tmp_path / "runs").exists()


def test_overrides_reach_the_recipe(tmp_path, capsys):
    recipe = write_recipe(tmp_path / "recipe.yaml", tmp_path, tmp_path / "runs")
    assert main(["run", str(recipe), "--only", "data", "corpus.manifest=elsewhere.tsv"]) == 2
    assert "elsewhere.tsv does not exist" in capsys.readouterr().err
    assert main(["run", str(recipe), "name"]) == 2
    assert "key=value" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_synth_writes_a_corpus_and_refuses_nonsense(tmp_path, capsys):
    assert main(["synth", str(tmp_path / "c"), "--hours", "0.01", "--voices", "3", "--jobs", "1"]) == 0
    assert "3 speakers" in capsys.readouterr().out
    assert (tmp_path / "c" / "phones.tsv").exists()
    assert main(["synth", str(tmp_path / "d"), "--hours", "-1", "--voices", "1"]) == 2
    error = capsys.readouterr().err
    assert "hours must be above 0" in error
    assert "voices must be at least 3" in error


def test_what_no_run_can_use_is_2(tmp_path, capsys):
    recipe = str(write_recipe(tmp_path / "recipe.yaml", tmp_path, tmp_path / "runs"))
    plain = tmp_path / "plain"
    plain.write_text("")
    (tmp_path / "empty.tsv").write_text("")
    for arguments, said in (
        (["run", recipe, "pretrain.budget.hours=.inf"], "must be a finite number"),
        (["run", recipe, "name=[1"], "not valid YAML"),
        (["manifest", str(tmp_path / "empty.tsv"), "-o", str(tmp_path / "m.tsv")], "its first line is empty"),
        (["synth", str(plain), "--hours", "0.01"], "a file is in its place"),
        (["run", recipe, f"runs={plain}"], "a file is in its place"),
    ):
        assert main(arguments) == 2, arguments
        assert said in capsys.readouterr().err


def test_statistics_are_written_into_their_folder_alone(tiny_corpus, tiny_runs, tmp_path, capsys):
    lines = (tiny_corpus / "manifest.tsv").read_text().splitlines()
    header = lines[0].split("\t")
    rows = [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]
    outside = next(row for row in rows if row["split"] == "dev")
    outside["id"] = "../../outside"
    for row in rows:
        row["audio"] = str(tiny_corpus / row["audio"])
    table = ["\t".join(header), *("\t".join(row[name] for name in header) for row in rows)]
    (tmp_path / "manifest.tsv").write_text("\n".join(table) + "\n")
    command = ["pseudotext", "stats", "--model", str(tiny_runs / "tiny" / "units.safetensors"), "--steps", "0"]
    out = tmp_path / "deep" / "out"
    assert main([*command, "--manifest", str(tmp_path / "manifest.tsv"), "-o", str(out)]) == 1
    assert "would lead out of" in capsys.readouterr().err
    assert not list(tmp_path.rglob("outside*"))
    assert len(list((out / "textgrid").iterdir())) == sum(row["split"] == "dev" for row in rows) - 1


def test_info_prints_json(tiny_runs, tmp_path, capsys):
    for name, kind in (("units.safetensors", "units"), ("pretrain/encoder.safetensors", "encoder")):
        assert main(["info", str(tiny_runs / "tiny" / name)]) == 0
        header = json.loads(capsys.readouterr().out)
        assert header["kind"] == kind
    assert main(["info", str(tmp_path / "none.safetensors")]) == 2
    (tmp_path / "text.safetensors").write_text("no bundle")
    assert main(["info", str(tmp_path / "text.safetensors")]) == 2
    assert "text.safetensors" in capsys.readouterr().err


def test_pseudotext_comes_back_through_the_pipes(tiny_runs, monkeypatch, capsys):
    bundle = str(tiny_runs / "tiny" / "units.safetensors")
    lines = ["1 2 3 1 2 3 11 0", "", "5", "7 8 7 8 7 8 7 8"]

    def through(verb, text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["pseudotext", verb, "--model", bundle]) == 0
        return capsys.readouterr().out

    pieces = through("encode", "\n".join(lines) + "\n")
    assert len(pieces.splitlines()) == 4
    assert through("decode", pieces).splitlines() == lines


@pytest.mark.parametrize(
    ("verb", "line", "said"),
    [
        ("encode", "1 two 3", "whole numbers"), ("encode", "1 99", r"[0, 12)"), ("decode", "1-x", "joined by hyphens"),
        ("decode", "12-3", r"[0, 12)"),
    ],
)  # fmt: skip
def test_lines_that_are_no_units_are_refused(tiny_runs, monkeypatch, capsys, verb, line, said):
    monkeypatch.setattr(sys, "stdin", io.StringIO(line + "\n"))
    assert main(["pseudotext", verb, "--model", str(tiny_runs / "tiny" / "units.safetensors")]) == 1
    assert said in capsys.readouterr().err


def test_an_interruption_is_said_and_has_its_code(monkeypatch, tmp_path, capsys):
    from speechunits import pipeline
    from speechunits.errors import Interrupted, TrainingStopped

    recipe = str(write_recipe(tmp_path / "recipe.yaml", tmp_path, tmp_path / "runs"))
    for raised, code in (
        (KeyboardInterrupt(), 130), (Interrupted("stopped by SIGTERM", 15), 143), (TrainingStopped("collapsed"), 3),
        (OSError(28, "No space left on device", "file"), 2), (OSError(28, "No space left on device"), 2),
    ):  # fmt: skip

        def run(*arguments, raised=raised):
            raise raised

        monkeypatch.setattr(pipeline, "run", run)
        assert main(["run", recipe]) == code
        said = capsys.readouterr().err
        assert said.startswith("speechunits: ")
        assert "None" not in said


def test_a_comparison_is_not_written_over_a_sweep(tmp_path, capsys):
    (tmp_path / "results.json").write_text('{"scores": []}')
    recipe = "recipes/objectives/cpc.yaml"
    assert main(["compare", recipe, "-o", str(tmp_path)]) == 2
    assert "must hold a comparison, but holds other results; name another folder" in capsys.readouterr().err
