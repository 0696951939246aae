"""How long a recipe will take: every training is counted once, at the speed of its kind."""

from dataclasses import replace

import pytest
import torch

from speechunits import compute, estimate
from speechunits.config import BudgetConfig, EngineConfig, SelfTrainingConfig, TuningConfig
from tests.spine import make_recipe

SPEEDS = {None: 60.0, "pretrained": 120.0, "untrained": 30.0, "logmel": 240.0, "units": 240.0}


@pytest.fixture
def recipe(tmp_path):
    """One hour of pretraining; one seed of one, two and two budgets, two hours each."""
    budget = {"budget": {"hours": 2.0}, "engine": {"threads": 0}}
    return make_recipe(
        tmp_path, tmp_path, pretrain={"budget": {"hours": 1.0}, "engine": {"threads": 0}},
        reduction={"finetune": budget, "untrained": budget, "logmel": budget, "units": budget, "jobs": 1},
    )  # fmt: skip


def minutes(recipe, monkeypatch):
    threads = []

    def speed(recipe, side=None):
        threads.append(torch.get_num_threads())
        return SPEEDS[side]

    monkeypatch.setattr(estimate, "training_speed", speed)
    monkeypatch.setattr(estimate, "_OVERHEAD", 1.0)
    monkeypatch.setattr(estimate, "cores", lambda: 4)
    before = torch.get_num_threads()
    found = estimate.estimated_minutes(recipe)
    assert torch.get_num_threads() == before
    return found, threads


def changed(recipe, **changes):
    return replace(recipe, reduction=replace(recipe.reduction, **changes))


def test_every_training_is_counted_at_the_speed_of_its_side(recipe, monkeypatch):
    before = torch.get_num_threads()
    own = 60 / 60 + 60 * (2 / 120 + 4 / 30 + 4 / 240)
    assert minutes(recipe, monkeypatch) == (pytest.approx(own), [before, 4, 4, 4])
    # Three trials a budget: one of them is the training; and with hours of their own none is.
    tuned = changed(recipe, tuning=TuningConfig(dropout=(0.1, 0.3, 0.5)))
    assert minutes(tuned, monkeypatch)[0] == pytest.approx(1 + 3 * (own - 1))
    shorter = changed(recipe, tuning=TuningConfig(dropout=(0.1, 0.3, 0.5), hours=0.5))
    assert minutes(shorter, monkeypatch)[0] == pytest.approx(1 + 1.75 * (own - 1))
    again = SelfTrainingConfig(rounds=2)
    rounds = {
        side: replace(getattr(recipe.reduction, side), self_training=again)
        for side in ("finetune", "untrained", "logmel")
    }
    assert minutes(changed(recipe, **rounds), monkeypatch)[0] == pytest.approx(1 + 3 * (own - 1))
    assert minutes(changed(recipe, read_units=True), monkeypatch)[0] == pytest.approx(own + 60 * 2 / 240)


def test_trainings_beside_each_other_share_the_cores(recipe, monkeypatch):
    own, _ = minutes(recipe, monkeypatch)
    beside, threads = minutes(changed(recipe, jobs=2), monkeypatch)
    assert beside == pytest.approx(1 + (own - 1) / 2)
    assert threads[1:] == [2] * 3
    # There are five trainings.
    assert minutes(changed(recipe, jobs=100), monkeypatch)[0] == pytest.approx(1 + (own - 1) / 5)


def test_threads_and_minutes_of_the_recipe_and_the_dearer_trainings_count(recipe, monkeypatch):
    own, _ = minutes(recipe, monkeypatch)
    single = replace(recipe.pretrain, engine=EngineConfig(threads=1), budget=BudgetConfig(hours=1.0, minutes=0.25))
    found, threads = minutes(replace(recipe, pretrain=single), monkeypatch)
    assert (found, threads) == (pytest.approx(own - 0.75), [1, 4, 4, 4])
    three = replace(
        recipe.reduction.logmel, engine=EngineConfig(threads=3), budget=BudgetConfig(hours=2.0, minutes=0.1)
    )
    found, threads = minutes(changed(recipe, logmel=three), monkeypatch)
    assert (found, threads[-1]) == (pytest.approx(own - 2 * (0.5 - 0.1)), 3)
    # One more seed of the headline: its cell, and two budgets of one baseline.
    assert minutes(changed(recipe, headline_seeds=2), monkeypatch)[0] == pytest.approx(own + 60 * (2 / 120 + 4 / 240))
    more = compute.equal_hours(recipe.pretrain, recipe.pretrain.encoder, 1.0)
    assert more["untrained"] == 1.0 != more["logmel"]
    equal = 2 * 60 * ((2 + more["untrained"]) / 30 + (2 + more["logmel"]) / 240)
    assert minutes(changed(recipe, equal_compute_seeds=1), monkeypatch)[0] == pytest.approx(own + equal)


def test_a_frozen_encoder_is_timed_for_as_long_as_it_is_frozen(tmp_path, monkeypatch):
    states = []
    monkeypatch.setattr(estimate, "_seconds", lambda learner, step, at: states.append(at) or 1.0 + at)
    for frozen, expected in ((0.0, 2.0), (0.75, 0.75 * 1 + 0.25 * 2)):
        recipe = make_recipe(tmp_path, tmp_path, reduction={"finetune": {"frozen": frozen}})
        assert estimate.training_speed(recipe, "pretrained") == pytest.approx(8 / expected)
    assert states == [1, 0, 1]
    assert estimate.training_speed(recipe, "logmel") == pytest.approx(8 / 2)


@pytest.mark.parametrize("learner", ["masked_prediction", "wav2vec2", "simclr"])
def test_every_kind_of_training_can_be_timed(tmp_path, learner):
    recipe = make_recipe(tmp_path, tmp_path, pretrain={"learner": learner, "encoder": {"dropout": 0.1}})
    state = torch.random.get_rng_state()
    for side in (None, "pretrained", "untrained", "logmel", "units"):
        assert estimate.training_speed(recipe, side) > 0
    assert torch.equal(torch.random.get_rng_state(), state)
