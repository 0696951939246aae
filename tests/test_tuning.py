"""Tuning trials: alike on every side, chosen on ``tune`` alone, listed, and never made twice."""

import json
from dataclasses import replace

import pytest

from speechunits import pipeline, sweep, tuning
from speechunits.audio.corpus import load_corpus
from speechunits.cell import Cell, cells, trials
from speechunits.config import FinetuneConfig, OptimizerConfig, ReductionConfig, TuningConfig
from speechunits.evaluation.score import Score
from speechunits.report.tables import tuning_rows
from speechunits.sweep import Setting
from speechunits.tuning import tune
from tests.spine import make_recipe

SIDES = ["pretrained", "untrained", "logmel"]
TUNING = TuningConfig(dropout=(0.1, 0.3, 0.5))
RATES = {"pretrained": [40, 30, 35], "untrained": [60, 60, 70], "logmel": [55, 54, 50]}
"""CER % on ``tune`` of each trial."""


def score(cell, split, errors):
    return Score(side=cell.side, minutes=cell.minutes, seed=cell.seed, split=split, minutes_actual=0.5, hashes=("a",),
                 errors=(errors,), lengths=(100,))  # fmt: skip


@pytest.fixture
def setting(tiny_corpus, tiny_runs, tmp_path):
    recipe = make_recipe(tiny_corpus, tmp_path)
    return Setting(
        corpus=load_corpus(recipe.corpus), config=replace(recipe.reduction, tuning=TUNING), folder=tmp_path / "cells",
        encoder=tiny_runs / "tiny" / "pretrain" / "encoder.safetensors",
    )  # fmt: skip


@pytest.fixture
def ran(monkeypatch):
    """Trials whose CER is known, and opposite on dev; return the names of those that ran."""
    names = []

    def run_cells(todo, setting):
        for cell in todo:
            names.append(cell.name)
            rate = RATES[cell.side][cell.trial]
            scores = [score(cell, "dev", 100 - rate), score(cell, "tune", rate)]
            folder = setting.folder / cell.name
            folder.mkdir(parents=True)
            (folder / "tune.posteriors.safetensors").write_text(cell.name)
            (setting.folder / f"{cell.name}.json").write_text(json.dumps({"key": sweep.cell_key(cell, setting)}))
            yield cell, scores

    monkeypatch.setattr(tuning, "run_cells", run_cells)
    return names


def test_every_combination_is_tried_on_every_side():
    config = ReductionConfig(headline_minutes=4, tuning=TuningConfig(dropout=(0.1, 0.3), lr=(1e-3, 2e-3, 3e-3)))
    assert [cell.name for cell in trials(config)] == [
        f"{side}-4-0-trial{number}" for side in SIDES for number in range(6)
    ]
    assert {cell.side for cell in trials(replace(config, read_units=True))} == {*SIDES, "units"}
    assert trials(ReductionConfig()) == []
    own = FinetuneConfig(dropout=0.7, optimizer=OptimizerConfig(lr=5.0))
    tried = [(made.dropout, made.optimizer.lr) for made in config.tuning.candidates(own)]
    assert tried == [(dropout, lr) for dropout in (0.1, 0.3) for lr in (1e-3, 2e-3, 3e-3)]
    # What is not tried is the side's own.
    assert [made.optimizer.lr for made in TUNING.candidates(own)] == [5.0] * 3
    assert TuningConfig().candidates(own) == [own]


def test_each_side_takes_what_is_best_on_tune(setting, ran):
    tuned, tried = tune(setting)
    assert tuned.config.finetune == replace(setting.config.finetune, dropout=0.3)
    assert tuned.config.untrained == replace(setting.config.untrained, dropout=0.1)  # the first of equals
    assert tuned.config.logmel == replace(setting.config.logmel, dropout=0.5)
    assert list(tried) == SIDES
    assert [trial["tune_cer"] for trial in tried["logmel"]] == [0.55, 0.54, 0.5]
    assert [trial["dropout"] for trial in tried["logmel"]] == [0.1, 0.3, 0.5]
    assert [[trial["chosen"] for trial in tried[side]].index(True) for side in SIDES] == [1, 0, 2]
    assert all(sum(trial["chosen"] for trial in tried[side]) == 1 for side in SIDES)
    header, rows = tuning_rows(tried)
    assert header[0] == "tried"
    assert [row[1] for row in rows] == ["40.0", "30.0 *", "35.0"]
    assert rows[0][0].startswith("dropout 0.1")


def test_the_chosen_trial_is_a_cell_of_the_sweep(setting, ran):
    tuned, _ = tune(setting)
    for side, trial in (("pretrained", 1), ("untrained", 0), ("logmel", 2)):
        cell = Cell(side=side, minutes=0.5, seed=0)
        saved = json.loads((setting.folder / f"{cell.name}.json").read_text())
        assert saved["key"] == sweep.cell_key(cell, tuned)
        assert (setting.folder / cell.name / "tune.posteriors.safetensors").read_text() == f"{side}-0.5-0-trial{trial}"


def test_published_trials_are_not_made_again(setting, ran):
    _, tried = tune(setting)
    assert len(ran) == 9
    published = replace(setting, published={"tuning": tried})
    tuned, again = tune(published)
    assert len(ran) == 9
    assert again == tried
    assert tuned.config.logmel.dropout == 0.5
    # Other settings make other trials.
    longer = replace(published, config=replace(setting.config, logmel=replace(setting.config.logmel, pieces=7)))
    tune(replace(longer, folder=setting.folder / "other"))
    assert ran[9:] == [f"logmel-0.5-0-trial{number}" for number in range(3)]


def test_a_sweep_with_trials(tiny_corpus, tiny_runs, tmp_path):
    encoder = tiny_runs / "tiny" / "pretrain" / "encoder.safetensors"
    recipe = make_recipe(tiny_corpus, tmp_path, reduction={"tuning": {"lr": [1e-4, 1e-3]}, "encoder": str(encoder)})
    pipeline.run(recipe, ("reduction",))
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    assert results["trials"] == dict.fromkeys(SIDES, 2)
    for side, tried in results["tuning"].items():
        chosen = next(trial for trial in tried if trial["chosen"])
        assert chosen["tune_cer"] == min(trial["tune_cer"] for trial in tried)
        assert results["keys"][f"{side}-0.5-0"] == chosen["key"]
    # Trials are not measurements: the table has each training of the sweep once.
    assert len(results["scores"]) == 2 * len(cells(recipe.reduction))
    assert "rate 0.0001" in (tmp_path / "tiny" / "reduction.md").read_text()
    plain = replace(recipe, reduction=replace(recipe.reduction, tuning=TuningConfig()))
    assert [len(trials(each.reduction)) for each in (recipe, plain)] == [6, 0]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"dropout": (0.1, 0.1)}, "dropout must name each value"),
        ({"dropout": (1.0,)}, "within"),
        ({"lr": (0.0,)}, "above 0"),
    ],
)
def test_values_that_cannot_be_tried_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        TuningConfig(**values)
