"""Tuning trials: alike on every side, chosen on ``tune`` alone, listed, and never made twice."""

import json
from dataclasses import replace

import pytest

from speechunits import pipeline, sweep, tuning
from speechunits.audio.corpus import load_corpus
from speechunits.cell import Cell, cells, trials
from speechunits.config import (
    AugmentConfig,
    BudgetConfig,
    FinetuneConfig,
    OptimizerConfig,
    ReductionConfig,
    TuningConfig,
)
from speechunits.evaluation.score import Score, scores_to_json
from speechunits.report.tables import tuning_legend, tuning_rows
from speechunits.results import SweepResults
from speechunits.setting import FIELDS, Setting
from tests.spine import make_recipe


def tune(setting):
    """Return what tuning has come to in the end."""
    return list(tuning.tune(setting))[-1]


SIDES = ["pretrained", "untrained", "logmel"]
TUNING = TuningConfig(dropout=(0.1, 0.3, 0.5))
RATES = {"pretrained": [40, 30, 35], "untrained": [60, 60, 70], "logmel": [55, 54, 50]}
"""CER % on ``tune`` of each trial at the headline; at a minute, which only baselines have, the other way round."""


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


def keep(setting, cell, key, scores):
    """Leave in the run folder what a training leaves."""
    setting.kept_at(cell, key).mkdir(parents=True, exist_ok=True)
    for path in setting.posteriors_of(cell, key).values():
        path.write_text(cell.name)
    setting.kept_at(cell, key, ".json").write_text(json.dumps({"key": key, "scores": scores_to_json(scores)}))


@pytest.fixture
def ran(monkeypatch):
    """Trials whose CER is known, and opposite on dev; return the names of those that ran."""
    names = []

    def run_cells(todo, setting):
        for cell in todo:
            names.append(cell.name)
            rate = RATES[cell.side][:: 1 if cell.minutes == 0.5 else -1][cell.trial]
            scores = [score(cell, "dev", 100 - rate), score(cell, "tune", rate)]
            keep(setting, cell, sweep.cell_key(cell, setting), scores)
            yield cell, scores

    monkeypatch.setattr(tuning, "run_cells", run_cells)
    return names


def test_every_combination_is_tried_on_every_side():
    config = ReductionConfig(headline_minutes=4, tuning=TuningConfig(dropout=(0.1, 0.3), lr=(1e-3, 2e-3, 3e-3)))
    budgets = {"pretrained": [4, 1, 16], "untrained": [4, 1, 16, 60], "logmel": [4, 1, 16, 60]}
    assert [cell.name for cell in trials(config)] == [
        f"{side}-{minutes}-0-trial{number}" for side in SIDES for minutes in budgets[side] for number in range(6)
    ]
    assert trials(replace(config, all_labels=True))[-1].name == "logmel-all-0-trial5"
    assert {cell.side for cell in trials(replace(config, read_units=True))} == {*SIDES, "units"}
    assert trials(ReductionConfig()) == []
    own = FinetuneConfig(dropout=0.7, optimizer=OptimizerConfig(lr=5.0))
    tried = [(made.dropout, made.optimizer.lr) for made in config.tuning.candidates(own)]
    assert tried == [(dropout, lr) for dropout in (0.1, 0.3) for lr in (1e-3, 2e-3, 3e-3)]
    # What is not tried is the side's own.
    assert [made.optimizer.lr for made in TUNING.candidates(own)] == [5.0] * 3
    assert TuningConfig().candidates(own) == [own]
    masks = TuningConfig(masks=(0.0, 1.0, 2.0)).candidates(own)
    assert [(made.augment.time_masks, made.augment.channel_masks) for made in masks] == [(0, 0), (2, 2), (4, 4)]
    assert masks[1] == own
    # Masks that are tried are there however often a recording is heard; the side's own are left as they are.
    seldom = replace(own, augment=AugmentConfig(masks_from=30.0))
    assert [made.augment for made in TuningConfig(masks=(1.0,)).candidates(seldom)] == [AugmentConfig()]
    assert TuningConfig().candidates(seldom) == [seldom]
    assert len(trials(ReductionConfig(tuning=TuningConfig(masks=(0.0, 1.0))))) == 2 * (3 + 4 + 4)


def test_the_table_of_trials_names_what_differs(setting):
    for values, names in (
        ({"dropout": (0.1, 0.3), "masks": (0.0, 1.0)},
         ["dropout 0.1, no masks", "dropout 0.1, 2 + 2 masks", "dropout 0.3, no masks", "dropout 0.3, 2 + 2 masks"]),
        ({"masks": (0.0, 0.5)}, ["dropout 0.1, no masks", "dropout 0.1, 1 + 1 masks"]),
        ({"dropout": (0.1,), "lr": (0.1, 0.2)}, ["dropout 0.1, rate 0.1", "dropout 0.1, rate 0.2"]),
    ):  # fmt: skip
        config = replace(setting.config, tuning=TuningConfig(**values))
        found = [(config.tuning.trial(number, config.logmel), number) for number in range(len(names))]
        tried = {
            "logmel": [
                {"minutes": 4, "dropout": made.dropout, "lr": made.optimizer.lr, "tune_cer": 0.5, "chosen": number == 0,
                 "masks": [made.augment.time_masks, made.augment.channel_masks]}
                for made, number in found
            ]
        }  # fmt: skip
        assert [row[0] for row in tuning_rows(tried)[1]] == [f"4 min, {name}" for name in names]


def test_each_side_takes_what_is_best_on_tune_at_each_budget(setting, ran):
    tuned, tried = tune(setting)
    assert tuned.chosen == {
        ("pretrained", 0.5): 1,
        ("untrained", 0.5): 0,  # the first of equals
        ("untrained", 1.0): 1,
        ("logmel", 0.5): 2,
        ("logmel", 1.0): 0,
    }
    assert list(tried) == SIDES
    assert [trial["tune_cer"] for trial in tried["logmel"]] == [0.55, 0.54, 0.5, 0.5, 0.54, 0.55]
    assert [trial["dropout"] for trial in tried["logmel"]] == [0.1, 0.3, 0.5] * 2
    assert [trial["minutes"] for trial in tried["logmel"]] == [0.5] * 3 + [1.0] * 3
    assert [trial["chosen"] for trial in tried["untrained"]] == [True, False, False, False, True, False]
    header, rows = tuning_rows(tried)
    assert header[0] == "tried"
    assert [row[1] for row in rows] == ["40.0", "30.0 *", "35.0", "–", "–", "–"]
    assert [row[3] for row in rows] == ["55.0", "54.0", "50.0 *", "50.0 *", "54.0", "55.0"]
    assert rows[0][0] == "0.5 min, dropout 0.1"


def test_every_seed_is_trained_as_its_budget_chose(setting, ran):
    tuned, _ = tune(setting)
    for cell, dropout in (
        (Cell(side="logmel", minutes=0.5, seed=0), 0.5),
        (Cell(side="logmel", minutes=0.5, seed=2), 0.5),
        (Cell(side="logmel", minutes=1.0, seed=2), 0.1),
        (Cell(side="pretrained", minutes=0.5, seed=1), 0.3),
    ):
        field = FIELDS[cell.side]
        own = replace(getattr(setting.config, field), dropout=dropout)
        by_hand = replace(setting, config=replace(setting.config, **{field: own}))
        assert sweep.cell_key(cell, tuned) == sweep.cell_key(cell, by_hand)
        assert sweep.cell_key(cell, tuned) != sweep.cell_key(cell, setting) or dropout == 0.1


def test_the_chosen_trial_is_a_cell_of_the_sweep(setting, ran):
    tuned, _ = tune(setting)
    for side, minutes, trial in (("pretrained", 0.5, 1), ("untrained", 1.0, 1), ("logmel", 0.5, 2)):
        cell = Cell(side=side, minutes=minutes, seed=0)
        key = sweep.cell_key(cell, tuned)
        assert sweep.kept_scores(cell, tuned, key)
        assert setting.posteriors_of(cell, key)["tune"].read_text() == f"{cell.name}-trial{trial}"


def test_trials_may_be_shorter_than_the_trainings_they_choose_for(setting, ran):
    shorter = replace(setting, config=replace(setting.config, tuning=replace(TUNING, hours=0.004)))
    tuned, tried = tune(shorter)
    assert tuned.chosen["logmel", 0.5] == 2
    assert {trial["audio_hours"] for side in SIDES for trial in tried[side]} == {0.004}
    # None of them is a training of the sweep, whose budget stays.
    assert not [
        cell for cell in cells(replace(shorter.config, seeds=1))
        if sweep.kept_scores(cell, tuned, sweep.cell_key(cell, tuned))
    ]  # fmt: skip
    own = replace(setting.config.logmel, dropout=0.5)
    by_hand = replace(setting, config=replace(setting.config, logmel=own))
    cell = Cell(side="logmel", minutes=0.5, seed=0)
    assert own.budget.hours != 0.004
    assert sweep.cell_key(cell, tuned) == sweep.cell_key(cell, by_hand)
    # A trial is the training of its settings and hours, whatever the sweep's are.
    trial = replace(cell, trial=2)
    of_hours = replace(by_hand, config=replace(by_hand.config, logmel=replace(own, budget=BudgetConfig(hours=0.004))))
    assert sweep.cell_key(trial, shorter) == sweep.cell_key(cell, of_hours)


def test_the_legend_says_how_long_trials_last(setting, ran):
    _, tried = tune(setting)
    hours = setting.config.finetune.budget.hours
    before = {side: [{"chosen": trial["chosen"]} for trial in trials] for side, trials in tried.items()}
    # Trials of an earlier version do not say how long they lasted: as long as the trainings.
    for each in (tried, before):
        assert tuning_legend(each, hours) == (
            "What every side tried with seed 0: CER % on `tune`; \\* is what trained the budget's other seeds."
        )
    assert tuning_legend(tried, 2 * hours) == (
        f"What every side tried with seed 0, {hours:g} audio-hours a trial: CER % on `tune`; \\* is what trained the "
        "budget's seeds."
    )


def test_values_that_come_to_the_same_settings_are_one_training(setting, ran):
    # Three quarters of two masks are two.
    tuned, tried = tune(replace(setting, config=replace(setting.config, tuning=TuningConfig(masks=(0.75, 1.0)))))
    assert len(ran) == len(set(ran)) == 5
    assert all(name.endswith("trial0") for name in ran)
    assert [trial["chosen"] for trial in tried["logmel"]] == [True, False] * 2
    assert len({trial["key"] for trial in tried["logmel"]}) == 2
    assert set(tuned.chosen.values()) == {0}


def test_published_trials_are_not_made_again(setting, ran):
    _, tried = tune(setting)
    assert len(ran) == 15
    published = replace(setting, published=[{"tuning": json.loads(json.dumps(tried))}])
    tuned, again = tune(published)
    assert len(ran) == 15
    assert again == tried
    assert tuned.chosen["logmel", 0.5] == 2
    # Other settings make other trials.
    other = replace(published, config=replace(setting.config, logmel=replace(setting.config.logmel, pieces=7)))
    tune(replace(other, folder=setting.folder / "other"))
    assert ran[15:] == [f"logmel-{minutes}-0-trial{number}" for minutes in ("0.5", "1") for number in range(3)]


def test_choices_come_as_they_are_made(setting, ran):
    steps = list(tuning.tune(setting))
    assert [len(tuned.chosen) for tuned, _ in steps] == [number // 3 for number in range(16)]
    assert [sum(map(len, tried.values())) for _, tried in steps] == [3 * (number // 3) for number in range(16)]


def test_an_early_look_has_all_cells_of_budgets_that_have_chosen(setting, ran, tmp_path, tiny_corpus):
    """Cells of other seeds may be there, from a sweep before: they are shown before every trial is done."""
    recipe = replace(make_recipe(tiny_corpus, tmp_path), reduction=replace(setting.config, seeds=2))
    todo = cells(recipe.reduction)
    results = SweepResults(
        recipe=recipe, todo=todo, path=tmp_path / "unfinished.json", encoder=sweep.encoder_of(setting)
    )
    steps = tuning.tune(setting)
    other = Cell(side="pretrained", minutes=0.5, seed=1)
    for number, (tuned, tried) in enumerate(steps):
        if number == 2:
            key = sweep.cell_key(other, replace(setting, chosen={("pretrained", 0.5): 1}))
            keep(setting, other, key, [score(other, "dev", 3), score(other, "tune", 4)])
        results.tuned(tuned, tried)
        if number == 2:
            assert not results.path.exists()
        if number == 3:
            break
    saved = json.loads(results.path.read_text())
    assert list(saved["keys"]) == ["pretrained-0.5-0", "pretrained-0.5-1"]
    # Three trials at each of four places, one of which is the first seed's, and that of the second.
    assert len(todo) == 10
    assert saved["unfinished"] == 4 * (3 + 1)
    assert saved["trials"] == {"pretrained": 3}
    assert [row["errors"] for row in saved["scores"]] == [[70], [30], [3], [4]]


def test_kept_trials_come_first(setting, ran):
    steps = tuning.tune(setting)
    for _ in range(16):
        next(steps)
    first = trials(setting.config)[0]
    setting.kept_at(first, sweep.cell_key(first, setting), ".json").unlink()
    ran.clear()
    again = list(tuning.tune(setting))
    assert ran == ["pretrained-0.5-0-trial0"]
    assert [len(tuned.chosen) for tuned, _ in again] == [4, 5]


def test_nothing_to_try_changes_nothing(setting, ran):
    plain = replace(setting, config=replace(setting.config, tuning=TuningConfig()))
    assert tune(plain) == (plain, {})
    assert not ran


def test_a_sweep_with_trials(tiny_corpus, tiny_runs, tmp_path):
    encoder = tiny_runs / "tiny" / "pretrain" / "encoder.safetensors"
    recipe = make_recipe(tiny_corpus, tmp_path, reduction={"tuning": {"lr": [1e-4, 1e-3]}, "encoder": str(encoder)})
    pipeline.run(recipe, ("reduction",))
    results = json.loads((tmp_path / "tiny" / "results.json").read_text())
    assert results["trials"] == dict.fromkeys(SIDES, 2)
    for side, tried in results["tuning"].items():
        at_headline = [trial for trial in tried if trial["minutes"] == 0.5]
        chosen = next(trial for trial in at_headline if trial["chosen"])
        assert chosen["tune_cer"] == min(trial["tune_cer"] for trial in at_headline)
        assert results["keys"][f"{side}-0.5-0"] == chosen["key"]
    # Trials are not measurements: the table has each training of the sweep once.
    assert len(results["scores"]) == 2 * len(cells(recipe.reduction))
    assert "rate 0.0001" in (tmp_path / "tiny" / "reduction.md").read_text()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"dropout": (0.1, 0.1)}, "dropout must name each value"),
        ({"dropout": (1.0,)}, "within"),
        ({"lr": (0.0,)}, "above 0"),
        ({"masks": (-1.0,)}, "at least 0"),
        ({"masks": (1.0, 1.0)}, "masks must name each value"),
    ],
)
def test_values_that_cannot_be_tried_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        TuningConfig(**values)
