"""The stages: what each needs, keeps and leaves behind."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from speechunits import finetuning, fitting, pipeline, sweep
from speechunits.audio.corpus import load_corpus
from speechunits.audio.importing import ImportOptions, make_manifest
from speechunits.audio.manifest import read_manifest
from speechunits.cell import cells
from speechunits.cli import main
from speechunits.config import LanguageConfig, RecipeConfig, TuningConfig, UnitsConfig, load_config
from speechunits.errors import InputRefused, Interrupted, ModelRefused, UsageError
from speechunits.evaluation.score import Score, scores_from_json, scores_to_json
from speechunits.progress import seconds_text
from speechunits.results import saved_results, show_reduction
from speechunits.run import commit, file_hash, read_json, write_json
from speechunits.setting import check_equal_hours
from speechunits.units.bundle import encoder_path, read_bundle
from speechunits.units.units import Units
from tests.encoder.test_foreign import write_model
from tests.encoder.test_foreign_fairseq2 import VARIANTS, make_model
from tests.encoder.test_foreign_fairseq2 import write as write_checkpoint
from tests.spine import make_recipe, write_recipe

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"


@pytest.fixture
def recipe(tiny_corpus, tiny_runs, tmp_path):
    """Return the tiny recipe in a copy of its run folder, where encoder and units are made."""
    shutil.copytree(tiny_runs, tmp_path / "runs")
    return make_recipe(tiny_corpus, tmp_path / "runs")


def written_results(path, *, pretrained=(0.30, 0.20), baseline=(0.45, 0.30, 0.25)):
    """Write a results.json whose curve is known: CER by budget (.5 and 1 min; the baselines also at 2)."""
    scores = []
    for side, rates in (("pretrained", pretrained), ("untrained", baseline), ("logmel", [0.9] * len(baseline))):
        for minutes, rate in zip((0.5, 1.0, 2.0), rates, strict=False):
            for seed in range(3):
                for split in ("dev", "tune"):
                    errors = tuple(int(rate * 1000) + seed for _ in range(5))
                    scores.append(
                        Score(
                            side=side, minutes=minutes, seed=seed, minutes_actual=minutes, split=split,
                            hashes=tuple("abcde"), errors=errors, lengths=(1000,) * 5,
                        )
                    )  # fmt: skip
    write_json(path, {"scores": scores_to_json(scores)})
    return path


def sound(path, seconds=1.0, rate=16_000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(path.name)).normal(0, 0.1, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate)


def test_an_absent_corpus_says_what_to_do(tmp_path):
    recipe = make_recipe(tmp_path, tmp_path / "runs", corpus={"card": str(ROOT / "data_manifests" / "mboshi.yaml")})
    with pytest.raises(UsageError, match=r"(?s)manifest\.tsv does not exist.*Mboshi.*github\.com.*corpus\.manifest="):
        pipeline.run(recipe, ("data",))


@pytest.mark.parametrize(
    ("stage", "missing", "earlier"),
    [
        ("units", "encoder.safetensors", "pretrain"),
        ("finetune", "encoder.safetensors", "pretrain"),
        ("reduction", "encoder.safetensors", "pretrain"),
        ("pseudotext", "units.safetensors", "units"),
        ("transcribe", "units.safetensors", "units"),
        ("summary", "results.json", "reduction"),
    ],
)
def test_a_stage_out_of_order_names_the_missing_one(tiny_corpus, tmp_path, stage, missing, earlier):
    with pytest.raises(UsageError, match=rf"{missing} does not exist yet; run .* --only {earlier}`"):
        pipeline.run(make_recipe(tiny_corpus, tmp_path / "runs"), (stage,))


def test_the_stages_of_the_command_line_are_those_of_the_pipeline():
    from speechunits.cli import training

    assert tuple(pipeline.STAGES) == training.STAGES


def test_the_recipe_is_recorded_with_commit_and_manifest(recipe):
    pipeline.run(recipe, ("data",))
    record = yaml.safe_load((recipe.runs / "tiny" / "recipe.yaml").read_text())
    assert record["commit"] == commit()
    assert record["manifest_sha256"] == file_hash(recipe.corpus.manifest)
    path = recipe.runs / "again.yaml"
    path.write_text(yaml.safe_dump(record["config"]))
    assert load_config(RecipeConfig, path) == recipe


def test_a_corpus_made_by_the_recipe_is_in_its_record(tmp_path):
    recipe = make_recipe(tmp_path / "corpus", tmp_path / "runs", synth={"hours": 0.01, "voices": 3, "jobs": 1})
    pipeline.run(recipe, ("data",))
    record = yaml.safe_load((tmp_path / "runs" / "tiny" / "recipe.yaml").read_text())
    assert record["manifest_sha256"] == file_hash(tmp_path / "corpus" / "manifest.tsv")


def test_the_run_folder_is_held_while_it_runs(recipe):
    code = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    lock = recipe.runs / "tiny" / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="in use by another process"):
            pipeline.run(recipe, ("pseudotext",))
        holder.stdin.close()
    pipeline.run(recipe, ("pseudotext",))


def test_units_are_kept_for_equal_settings_and_made_anew_for_others(recipe, capsys):
    experiment = pipeline.Experiment(recipe)
    before = file_hash(experiment.units)
    pipeline.run(recipe, ("units", "pseudotext"))
    assert file_hash(experiment.units) == before
    assert "units.safetensors is there already" in capsys.readouterr().err
    other = make_recipe(recipe.corpus.manifest.parent, recipe.runs, units={"clusters": 10})
    pipeline.run(other, ("units",))
    inventory = Units.load(experiment.units)
    assert (inventory.clusters, inventory.has_pseudotext) == (10, False)
    assert read_json(experiment.quality)["measures"]["MFCC k-means"]["clusters"] == 10
    pipeline.run(other, ("pseudotext",))
    assert Units.load(experiment.units).has_pseudotext


def test_the_layer_is_chosen_on_held_out_speech(recipe, tmp_path, capsys):
    experiment = pipeline.Experiment(recipe)
    config = UnitsConfig(clusters=8, sample_frames=2000, iterations=3)
    fitting.fit_units(experiment.encoder, experiment.corpus, config, tmp_path / "auto.safetensors")
    header = read_bundle(tmp_path / "auto.safetensors", "units")[1]
    choice = header["provenance"]["layer_choice"]
    assert choice["criterion"] == "predictability"
    assert all(len(scores) == 3 for scores in choice["scores"].values())
    assert header["units"]["layer"] == choice["layer"]
    assert f"layer {choice['layer']}: the best by predictability" in capsys.readouterr().err
    fitting.fit_units(experiment.encoder, experiment.corpus, config, tmp_path / "auto.safetensors")
    assert "is there already" in capsys.readouterr().err


def test_pseudotext_is_fitted_once_for_equal_settings(recipe, capsys):
    experiment = pipeline.Experiment(recipe)
    before = file_hash(experiment.units)
    pipeline.run(recipe, ("pseudotext",))
    assert file_hash(experiment.units) == before
    pipeline.run(make_recipe(recipe.corpus.manifest.parent, recipe.runs, pseudotext={"pieces": 30}), ("pseudotext",))
    assert file_hash(experiment.units) != before
    assert len(Units.load(experiment.units).pseudotext) <= 30
    assert "units a piece" in capsys.readouterr().err


def test_dev_is_transcribed_in_every_format(recipe):
    pipeline.run(recipe, ("transcribe",))
    folder = recipe.runs / "tiny" / "transcripts"
    dev = {row.id for row in load_corpus(recipe.corpus).split("dev")}
    for form, suffix in (("text", "txt"), ("jsonl", "jsonl"), ("textgrid", "TextGrid")):
        assert {path.stem for path in (folder / form).rglob(f"*.{suffix}")} == dev


def test_the_table_is_computed_from_saved_results_alone(tmp_path, capsys):
    # Nothing but results.json exists: no corpus, no encoder. At .5 min the pretrained side has 30 %, as the baseline
    # at 1 min: a factor of 2.
    recipe = make_recipe(tmp_path / "gone", tmp_path / "runs")
    show_reduction(written_results(tmp_path / "results.json"), recipe, tmp_path)
    text = (tmp_path / "reduction.md").read_text()
    assert "at 0.5 min of labels, pretraining saves a factor of 2.0" in text
    assert text in capsys.readouterr().out
    assert (tmp_path / "reduction.png").read_bytes().startswith(b"\x89PNG")


def test_rates_over_phones_are_called_so(tmp_path, capsys):
    recipe = make_recipe(tmp_path / "gone", tmp_path / "runs")
    saved = read_json(written_results(tmp_path / "results.json"))
    config = {"reduction": {"finetune": {"tokens": "phones", "budget": {"hours": 3.0}}}}
    write_json(tmp_path / "results.json", saved | {"provenance": {"config": config}})
    show_reduction(tmp_path / "results.json", recipe, tmp_path)
    shown = capsys.readouterr().out
    assert "PER %, pretrained" in shown
    assert "PER: mean over seeds" in shown
    assert "CER" not in shown
    assert "Every training heard 3 audio-hours" in shown


def test_published_results_come_before_those_of_the_run_and_finished_ones_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe(tmp_path / "gone", tmp_path / "runs")
    with pytest.raises(UsageError, match=r"results/tiny/results.json or .*runs/tiny/results.json must hold"):
        saved_results(recipe)
    for folder, name in (
        (recipe.runs / "tiny", "unfinished.json"), (recipe.runs / "tiny", "results.json"),
        (Path("results/tiny"), "unfinished.json"), (Path("results/tiny"), "results.json"),
    ):  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
        assert saved_results(recipe) == folder / name


def test_a_smoke_recipe_never_prints_a_factor(tmp_path, capsys):
    recipe = make_recipe(tmp_path / "gone", tmp_path / "runs", smoke=True)
    show_reduction(written_results(tmp_path / "results.json"), recipe, tmp_path)
    shown = capsys.readouterr().out
    assert "too small to measure a factor" in shown
    assert "saves" not in shown


def test_the_table_needs_no_pictures(tmp_path, capsys, monkeypatch):
    path = write_recipe(tmp_path / "recipe.yaml", tmp_path / "gone", tmp_path / "runs")
    results = written_results(tmp_path / "results.json", pretrained=(0.30, 0.20))
    monkeypatch.setattr("speechunits.results.find_spec", lambda name: None)
    assert main(["reduction", str(path), "--from-saved", str(results)]) == 0
    shown = capsys.readouterr()
    assert "factor of 2.0" in shown.out
    assert "speechunits[report]" in shown.err
    assert not (tmp_path / "reduction.png").exists()


def test_no_factor_is_no_failure(tmp_path, capsys):
    path = write_recipe(tmp_path / "recipe.yaml", tmp_path / "gone", tmp_path / "runs")
    for rates, said in (((0.99, 0.98), "undefined"), ((0.60, 0.55), "undefined"), ((0.30, 0.20), "factor of 2.0"),
                        ((0.10, 0.09), "at least a factor"), ((0.47, 0.46), "at most a factor")):  # fmt: skip
        results = written_results(tmp_path / "results.json", pretrained=rates)
        assert main(["reduction", str(path), "--from-saved", str(results)]) == 0
        assert said in capsys.readouterr().out


def test_every_stage_to_the_last_screen(recipe, monkeypatch, capsys):
    pipeline.run(recipe, ("finetune", "reduction", "summary"))
    shown = capsys.readouterr()
    folder = recipe.runs / "tiny"
    assert read_bundle(folder / "asr.safetensors", "recognizer")[1]["side"] == "pretrained"
    assert "| labels |" in shown.out
    assert "units" in shown.out.split("| labels |")[1]
    found = cells(recipe.reduction)
    results = read_json(folder / "results.json")
    assert len(results["scores"]) == 2 * len(found)
    assert (len(results["keys"]), results["unfinished"]) == (len(found), 0)
    assert results["provenance"]["manifest_sha256"] == file_hash(recipe.corpus.manifest)
    # Nothing is trained a second time, and the table is the same.
    monkeypatch.setattr(finetuning, "train", None)
    table = (folder / "reduction.md").read_text()
    pipeline.run(recipe, ("finetune", "reduction"))
    assert (folder / "reduction.md").read_text() == table
    assert read_json(folder / "results.json") == results


def test_a_sweep_trains_every_row_that_is_asked_for(recipe, capsys):
    """Recognisers that read units, and baselines with pretraining's FLOPs on top, each from its own recordings."""
    reading = replace(recipe.reduction.logmel, side="units")
    asked = replace(recipe.reduction, read_units=True, units=reading, equal_compute_seeds=1)
    pipeline.run(replace(recipe, reduction=asked), ("reduction",))
    folder = recipe.runs / "tiny"
    scores = scores_from_json(read_json(folder / "results.json")["scores"])
    assert {(score.side, score.compute) for score in scores} == {
        ("pretrained", ""), ("units", ""), ("untrained", ""), ("logmel", ""),
        ("untrained", "equal"), ("logmel", "equal"),
    }  # fmt: skip
    heard = {path.stem[:-9]: read_json(path)["outcome"]["audio_hours"] for path in (folder / "cells").glob("*.json")}
    pretrained = sum(each["audio_hours"] for each in read_json(folder / "pretrain" / "pretrain.json")["passes"])
    more = heard["untrained-0.5-0-equal"] - heard["untrained-0.5-0"]
    assert more == pytest.approx(pretrained, rel=0.3)
    assert heard["units-0.5-0"] == pytest.approx(heard["pretrained-0.5-0"], rel=0.5)
    shown = capsys.readouterr().out
    assert "CER %, small network that reads units" in shown
    assert "| no language model, baselines with pretraining's FLOPs |" in shown


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted((ROOT / "results").glob("*/reduction.md")), ids=lambda path: path.parent.name)
def test_published_tables_are_those_of_their_saved_results(table, tmp_path):
    name = re.sub(r"-(40h|by|frozen|untrained)\b.*", "", table.parent.name)
    saved = next(
        path for path in (table.with_name("results.json"), table.with_name("unfinished.json")) if path.exists()
    )
    show_reduction(saved, load_config(RecipeConfig, RECIPES / f"{name}.yaml"), tmp_path)
    assert (tmp_path / "reduction.md").read_text() == table.read_text()


def test_the_time_left_is_that_of_what_is_trained(recipe, tmp_path, monkeypatch, capsys):
    pipeline.run(recipe, ("reduction",))
    whole = read_json(recipe.runs / "tiny" / "results.json")
    found = cells(recipe.reduction)
    scores = {cell: [score for score in scores_from_json(whole["scores"]) if cell.made(score)] for cell in found}
    clock = [0.0]

    def run_cells(todo, setting):
        # Three are kept and come after twelve seconds of imports, each other takes a hundred.
        for number, cell in enumerate(todo):
            clock[0] += 4 if number < 3 else 100
            yield cell, scores[cell]

    monkeypatch.setattr(sweep, "kept_scores", lambda cell, *_: scores[cell] if cell in found[:3] else None)
    monkeypatch.setattr(pipeline.sweep, "run_cells", run_cells)
    monkeypatch.setattr("speechunits.results.time.monotonic", lambda: clock[0])
    capsys.readouterr()
    pipeline.run(recipe, ("reduction",))
    lines = [line for line in capsys.readouterr().err.splitlines() if " trainings" in line]
    assert [" left" in line for line in lines[:4]] == [False, False, False, True]
    left_s = 112 * (len(found) - 4)
    assert f"4 of {len(found)} trainings, about {seconds_text(left_s)} left" in lines[3]


def test_a_baseline_that_is_worse_is_not_trained_with_further_seeds(recipe, monkeypatch, capsys):
    recipe = replace(recipe, reduction=replace(recipe.reduction, headline_seeds=recipe.reduction.seeds + 1))
    trained = []

    def run_cells(todo, setting):
        for cell in todo:
            trained.append(cell)
            better = cell.side == ("untrained" if cell.minutes == 1 else "logmel")
            scores = [[0 if better else 9] * len(setting.scored(split)) for split in ("dev", "tune")]
            yield cell, [
                Score(side=cell.side, minutes=cell.minutes, seed=cell.seed, minutes_actual=1.0, split=split,
                      hashes=tuple(map(str, range(len(errors)))), errors=tuple(errors), lengths=(10,) * len(errors))
                for split, errors in zip(("dev", "tune"), scores, strict=True)
            ]  # fmt: skip

    monkeypatch.setattr(pipeline.sweep, "run_cells", run_cells)
    pipeline.run(recipe, ("reduction",))
    later = {cell.name for cell in trained if cell.seed == recipe.reduction.seeds}
    budgets = recipe.reduction.baseline_minutes
    chosen = {f"{'untrained' if minutes == 1 else 'logmel'}-{minutes:g}" for minutes in budgets}
    headline = f"pretrained-{recipe.reduction.headline_minutes:g}"
    assert later == {f"{name}-{recipe.reduction.seeds}" for name in {headline, *chosen}}
    saved = read_json(recipe.runs / "tiny" / "results.json")
    assert set(saved["keys"]) == {cell.name for cell in trained}
    assert saved["unfinished"] == 0
    assert f"{len(trained)} of {len(trained)} trainings" in capsys.readouterr().err.splitlines()[-1]


def test_a_published_sweep_is_gone_on_from_where_the_run_folder_is_gone(recipe, tmp_path, monkeypatch, capsys):
    """Only what it lacks is trained, and what there is can be looked at before the end."""
    pipeline.run(recipe, ("reduction",))
    whole = read_json(recipe.runs / "tiny" / "results.json")
    *_, last = cells(recipe.reduction)
    keys = {name: key for name, key in whole["keys"].items() if name != last.name}
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "results" / "tiny" / "results.json", whole | {"keys": keys})
    shutil.copytree(recipe.runs / "tiny" / "pretrain", tmp_path / "elsewhere" / "tiny" / "pretrain")
    trained = []

    def train(cell, *_):
        trained.append(cell)
        raise Interrupted("stopped", 2)

    monkeypatch.setattr(sweep, "_train", train)
    elsewhere = replace(recipe, runs=tmp_path / "elsewhere")
    with pytest.raises(Interrupted):
        pipeline.run(elsewhere, ("reduction",))
    assert trained == [last]
    early = tmp_path / "elsewhere" / "tiny" / "unfinished.json"
    assert (read_json(early)["keys"], read_json(early)["unfinished"]) == (keys, 1)
    assert read_json(early)["scores"] == whole["scores"][:-2]
    assert whole["wall_s"].keys() == whole["keys"].keys()
    assert read_json(early)["wall_s"] == {name: whole["wall_s"][name] for name in keys}
    # Rows with a language model need posteriors, which are not published: asked for, such cells are trained again.
    again = replace(recipe.reduction, language=LanguageConfig(rows=("own",), train_again=True))
    setting = replace(
        pipeline.Experiment(elsewhere).setting, config=again, published=[whole], folder=tmp_path / "cells"
    )
    with pytest.raises(Interrupted):
        sweep.run_cell(last, setting)
    assert trained == [last, last]
    capsys.readouterr()
    show_reduction(early, recipe, tmp_path)
    shown = capsys.readouterr().out
    assert "An early look: 1 trainings" in shown
    assert "Every training heard 0.005 audio-hours" in shown


def test_a_published_sweep_is_gone_on_from_where_its_encoder_is_gone_too(recipe, tmp_path, monkeypatch, capsys):
    """What is published names its encoder: baselines are trained on, what begins with the encoder is as published."""
    pipeline.run(recipe, ("reduction",))
    whole = read_json(recipe.runs / "tiny" / "results.json")
    monkeypatch.chdir(tmp_path)
    trained = []

    def train(cell, config, *_):
        trained.append((cell, config.encoder))
        raise Interrupted("stopped", 2)

    monkeypatch.setattr(sweep, "_train", train)
    elsewhere = replace(recipe, runs=tmp_path / "elsewhere")
    published = tmp_path / "results" / "tiny" / "unfinished.json"

    def without(side):
        *_, last = (cell for cell in cells(recipe.reduction) if cell.side == side)
        keys = {name: key for name, key in whole["keys"].items() if name != last.name}
        write_json(published, whole | {"keys": keys})
        return last

    last = without("untrained")
    with pytest.raises(Interrupted):
        pipeline.run(elsewhere, ("reduction",))
    assert trained == [(last, recipe.pretrain.encoder)]
    early = read_json(tmp_path / "elsewhere" / "tiny" / "unfinished.json")
    assert early["encoder"] == whole["encoder"]
    assert early["unfinished"] == 1
    assert "encoder.safetensors is gone" in capsys.readouterr().err
    without("pretrained")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"needs the encoder .* but its file is gone; put it back, or run"):
        pipeline.run(elsewhere, ("reduction",))
    # Results that name no encoder are those of an earlier version: then there is nothing to know it by.
    write_json(published, {name: value for name, value in whole.items() if name != "encoder"})
    with pytest.raises(UsageError, match=r"pretrain/encoder\.safetensors does not exist yet"):
        pipeline.run(elsewhere, ("reduction",))


def test_a_sweep_whose_sides_hear_more_than_others_is_refused_before_any_training(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_train", None)
    unequal = make_recipe(tiny_corpus, tmp_path / "runs", reduction={"logmel": {"budget": {"hours": 0.5}}})
    with pytest.raises(UsageError, match=r"the same audio-hours.*'finetune': 0.005.*'logmel': 0.5"):
        pipeline.run(unequal, ("reduction",))
    for change in ({"self_training": {"rounds": 1}}, {"patience": 1}, {"budget": {"hours": 0.005, "minutes": 1.0}}):
        unequal = make_recipe(tiny_corpus, tmp_path / "runs", reduction={"finetune": change})
        with pytest.raises(UsageError, match="the same audio-hours"):
            check_equal_hours(unequal.reduction, cells(unequal.reduction))


@pytest.mark.parametrize(
    "path", [*RECIPES.glob("*.yaml"), *RECIPES.glob("finetune/*.yaml")], ids=lambda path: path.stem
)
def test_the_sides_of_our_own_sweeps_hear_the_same(path):
    recipe = load_config(RecipeConfig, path)
    check_equal_hours(recipe.reduction, cells(recipe.reduction))


def test_a_recording_that_cannot_be_decoded_is_left_out_before_any_training(recipe, tiny_corpus, tmp_path, capsys):
    """A header does not say what is wrong within a file; found out at the end, it would cost the training."""
    shutil.copytree(tiny_corpus, tmp_path / "corpus")
    broken = replace(
        recipe, corpus=replace(recipe.corpus, manifest=tmp_path / "corpus" / "manifest.tsv", phones=None),
        reduction=replace(recipe.reduction, tuning=TuningConfig()),
    )  # fmt: skip
    victim = next(row for row in load_corpus(broken.corpus).recordings if row.split == "dev")
    samples, rate_hz = soundfile.read(victim.audio, dtype="float32")
    samples[len(samples) // 2] = np.nan
    soundfile.write(victim.audio.with_suffix(".wav"), samples, rate_hz, subtype="FLOAT")
    manifest = broken.corpus.manifest
    manifest.write_text(manifest.read_text().replace(victim.audio.name, victim.audio.with_suffix(".wav").name))
    path = tmp_path / "r.yaml"
    write_recipe(path, tmp_path / "corpus", recipe.runs, corpus={"phones": None})
    assert main(["finetune", str(path), "--side", "logmel"]) == 1
    said = capsys.readouterr().err
    assert f"refused: {victim.id}: " in said
    assert "NaN" in said
    (saved,) = (recipe.runs / "tiny" / "cells").glob("logmel-0.5-0-*.json")
    dev = next(score for score in read_json(saved)["scores"] if score["split"] == "dev")
    assert len(dev["errors"]) == len(load_corpus(recipe.corpus).split("dev")) - 1


def test_the_headline_recogniser_is_the_one_that_tuning_chose(recipe, monkeypatch):
    """The stage before the sweep trains what the sweep will take, and nothing of it twice."""
    tuned = replace(recipe, reduction=replace(recipe.reduction, tuning=TuningConfig(dropout=(0.0, 0.2), hours=0.004)))
    pipeline.run(tuned, ("finetune",))
    bundle = recipe.runs / "tiny" / "asr.safetensors"
    key = read_bundle(bundle, "recognizer")[1]["provenance"]["key"]
    trained = []
    real = sweep._train
    monkeypatch.setattr(sweep, "_train", lambda cell, *rest: (trained.append(cell), real(cell, *rest))[1])
    pipeline.run(tuned, ("reduction", "finetune"))
    results = read_json(recipe.runs / "tiny" / "results.json")
    assert results["keys"]["pretrained-0.5-0"] == key
    assert not [cell for cell in trained if (cell.side, cell.minutes, cell.seed) == ("pretrained", 0.5, 0)]


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"scores": [1]}', "[]"])
def test_what_is_no_result_of_a_sweep_is_named(tmp_path, content, capsys):
    path, results = write_recipe(tmp_path / "r.yaml", tmp_path, tmp_path / "runs"), tmp_path / "results.json"
    if content is not None:
        results.write_text(content)
    assert main(["reduction", str(path), "--from-saved", str(results)]) == 2
    assert f"{results} must hold the results of a sweep, but cannot be read" in capsys.readouterr().err


def test_two_trainings_at_a_time_give_the_same_results(recipe, capsys):
    def scores(name, jobs):
        own = replace(recipe, reduction=replace(recipe.reduction, jobs=jobs))
        setting = replace(pipeline.Experiment(own).setting, folder=recipe.runs / name)
        return dict(sweep.run_cells(cells(own.reduction)[:4], setting))

    together = scores("two", 2)
    assert together == scores("one", 1)
    assert len(together) == 4
    (log,) = (recipe.runs / "two").glob(f"{next(iter(together)).name}-*.log")
    assert "100 %" in log.read_text()
    # What is kept already keeps its log, too.
    assert scores("two", 2) == together
    assert "100 %" in log.read_text()


def test_a_manifest_of_a_folder_names_its_faults_and_does_the_rest(tmp_path, capsys):
    for index in range(6):
        sound(tmp_path / "in" / f"take{index}.{'flac' if index % 2 else 'wav'}", rate=8000 if index % 3 else 48_000)
    (tmp_path / "in" / "renamed.wav").write_text("text")
    (tmp_path / "in" / "empty.wav").touch()
    faults = make_manifest(tmp_path / "in", tmp_path / "m.tsv", ImportOptions(card=None))
    error = capsys.readouterr().err
    assert [fault.split(":")[0] for fault in faults] == ["empty.wav", "renamed.wav"]
    assert all(f"refused: {fault}" in error for fault in faults)
    assert "6 recordings" in error
    rows = read_manifest(tmp_path / "m.tsv")
    assert sorted(row.id for row in rows) == [f"take{index}" for index in range(6)]
    assert {row.split for row in rows} >= {"train", "dev", "test"}
    assert all(row.audio.exists() and row.duration_s == 1.0 for row in rows)


def test_a_manifest_of_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.wav").touch()
    with pytest.raises(InputRefused, match=r"holds no usable recording, all was refused .*; nothing was written"):
        make_manifest(tmp_path / "in", tmp_path / "m.tsv", ImportOptions(card=None))
    assert not (tmp_path / "m.tsv").exists()


def test_a_fairseq_manifest_becomes_ours(tmp_path, capsys):
    sound(tmp_path / "wavs" / "a.wav")
    sound(tmp_path / "wavs" / "b.wav", seconds=2.0)
    (tmp_path / "train.tsv").write_text(f"{tmp_path / 'wavs'}\na.wav\t16000\nb.wav\t16000\nc.wav\t16000\n")
    (tmp_path / "train.wrd").write_text("uno\ndos tres\ncuatro\n")
    faults = make_manifest(tmp_path / "train.tsv", tmp_path / "m.tsv", ImportOptions(card=None))
    error = capsys.readouterr().err
    assert len(faults) == 1
    assert "c.wav" in faults[0]
    # A wrong length is corrected, not refused.
    assert "warning: b: duration must be 2.000 s, but is 1.000 s instead" in error
    rows = read_manifest(tmp_path / "m.tsv")
    assert {(row.id, row.text, row.duration_s) for row in rows} == {("a", "uno", 1.0), ("b", "dos tres", 2.0)}
    assert {row.split for row in rows} <= {"train", "tune"}


def test_a_card_reads_its_corpus(tmp_path):
    for speaker in ("19", "26", "84"):
        split = "dev-clean" if speaker == "84" else "train-clean-100"
        folder = tmp_path / "in" / split / speaker / "1"
        for index in range(2):
            sound(folder / f"{speaker}-1-{index:04d}.flac")
        (folder / f"{speaker}-1.trans.txt").write_text(
            f"{speaker}-1-0000 GO {speaker}\n{speaker}-1-0001 STAY {speaker}\n"
        )
    card = pipeline.Path("data_manifests/librispeech.yaml")
    assert make_manifest(tmp_path / "in", tmp_path / "m.tsv", ImportOptions(card=card)) == []
    rows = {row.id: row for row in read_manifest(tmp_path / "m.tsv")}
    assert rows["84-1-0000"].split == "dev"
    assert {row.split for row in rows.values()} == {"train", "tune", "dev"}
    assert rows["26-1-0001"].text == "stay 26"


def test_the_encoder_of_a_run_folder_is_found(recipe, tmp_path):
    encoder = recipe.runs / "tiny" / "pretrain" / "encoder.safetensors"
    assert encoder_path(recipe.runs / "tiny") == encoder
    assert encoder_path(recipe.runs / "tiny" / "pretrain") == encoder
    assert encoder_path(encoder) == encoder
    with pytest.raises(UsageError, match=r"holds no encoder\.safetensors"):
        encoder_path(tmp_path)


def test_a_recogniser_starts_from_the_encoder_that_is_named(recipe, tiny_corpus, tmp_path, capsys):
    given = replace(recipe, name="other", reduction=replace(recipe.reduction, encoder=recipe.runs / "tiny"))
    assert pipeline.Experiment(given).setting.encoder == recipe.runs / "tiny" / "pretrain" / "encoder.safetensors"
    write_model(tmp_path / "hubert", "hubert-base")
    foreign = replace(given, reduction=replace(given.reduction, encoder=tmp_path / "hubert"))
    pipeline.finetune(pipeline.Experiment(foreign))
    assert "pretrained-0.5-0: CER" in capsys.readouterr().err
    header = read_bundle(recipe.runs / "other" / "asr.safetensors", "recognizer")[1]
    assert (header["encoder"]["frontend"], header["encoder"]["layers"]) == ("waveform", 3)


def test_a_recogniser_starts_from_a_pickle_where_that_is_allowed(recipe, tiny_corpus, tmp_path):
    """As all checkpoints of fairseq2 are."""
    model, settings = make_model(**VARIANTS["base"])
    write_checkpoint(tmp_path, model, settings)
    given = replace(recipe, name="other", reduction=replace(recipe.reduction, encoder=tmp_path))
    with pytest.raises(ModelRefused, match=r"reduction\.allow_pickle=true"):
        _ = pipeline.Experiment(given).setting
    allowed = replace(given, reduction=replace(given.reduction, allow_pickle=True))
    header = read_bundle(pipeline.Experiment(allowed).setting.encoder, "encoder")[1]
    assert header["origin"]["library"] == "fairseq2"


def test_quality_is_measured_where_phones_are_known(recipe, capsys):
    quality = json.loads((recipe.runs / "tiny" / "units.json").read_text())["measures"]
    assert sorted(quality) == ["MFCC k-means", "units"]
    assert all(0 <= row["without_silence"]["pnmi"] <= 1 and row["clusters"] == 12 for row in quality.values())
    elsewhere = replace(recipe, corpus=replace(recipe.corpus, dev="test"))
    pipeline.run(elsewhere, ("units",))
    other = json.loads((recipe.runs / "tiny" / "units.json").read_text())["measures"]
    assert other["units"]["without_silence"] != quality["units"]["without_silence"]
    (recipe.runs / "tiny" / "units.json").unlink()
    pipeline.run(make_recipe(recipe.corpus.manifest.parent, recipe.runs, corpus={"phones": None}), ("units",))
    assert not (recipe.runs / "tiny" / "units.json").exists()
    assert capsys.readouterr().out.count("PNMI") == 1
