"""Ending early: the weights of the best held-out evaluation stay, and patience has an end."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from speechunits.engine import seal
from speechunits.errors import UsageError
from tests.engine.tiny import TinyLearner, run


class Scripted(TinyLearner):
    """Reports the given error rates in turn, and remembers the weights it had at each."""

    def __init__(self, rates):
        super().__init__()
        self.rates = list(rates)
        self.seen = []

    def report(self, metrics, histograms):
        self.seen.append(self.head.weight.detach().clone())
        return {**super().report(metrics, histograms), "cer": self.rates[len(self.seen) - 1]}


def trained(tmp_path, corpus, held_out, rates, patience):
    learner = Scripted(rates)
    engine = {"held_out_evaluations": len(rates), "checkpoint_steps": None}
    result = run(learner, tmp_path, corpus, held_out, steps=12, engine=engine, lasting=False, patience=patience)
    return learner, result


def test_the_best_weights_stay(tmp_path, corpus, held_out):
    learner, result = trained(tmp_path, corpus, held_out, [0.9, 0.5, 0.7, 0.5, 0.4, 0.6], 9)
    assert len(learner.seen) == 6
    assert torch.equal(learner.head.weight, learner.seen[4])
    assert result.held_out["cer"] == 0.4
    assert result.stopped is None


def test_patience_has_an_end(tmp_path, corpus, held_out):
    learner, result = trained(tmp_path, corpus, held_out, [0.9, 0.5, 0.7, 0.5, 0.4, 0.6], 2)
    assert len(learner.seen) == 4
    assert torch.equal(learner.head.weight, learner.seen[1])
    assert result.steps == 8 < result.total_steps
    assert "no lower cer on tune after step 4" in result.stopped


def test_patience_needs_something_held_out_and_no_lasting_checkpoints(tmp_path, corpus, held_out):
    for arguments in ({"lasting": True}, {"lasting": False, "held_out": ()}):
        given = {"held_out": held_out, **arguments}
        with pytest.raises(UsageError, match="patience must be 0"):
            run(TinyLearner(), tmp_path, corpus, given.pop("held_out"), patience=2, **given)
    with pytest.raises(UsageError, match=r"patience must be 0 with no evaluation \(engine.held_out_evaluations: 0\)"):
        run(TinyLearner(), tmp_path, corpus, held_out, patience=2, lasting=False, engine={"held_out_evaluations": 0})
    with pytest.raises(UsageError, match=r"patience must be 0, but is 2: each of the \d held-out recordings is"):
        run(TinyLearner(), tmp_path, corpus, [replace(each, duration_s=0.2) for each in held_out], patience=2,
            lasting=False)  # fmt: skip


class Stopped(BaseException):
    """As sudden as kill -9."""


@pytest.mark.parametrize("killed_in", range(1, 13))
@pytest.mark.parametrize("patience", [2, 9])
def test_what_was_best_outlasts_an_interruption(tmp_path, corpus, held_out, killed_in, patience):
    rates = [0.9, 0.5, 0.7, 0.5, 0.4, 0.6]
    whole, expected = trained(tmp_path / "whole", corpus, held_out, rates, patience)
    learner = Scripted(rates)
    engine = {"held_out_evaluations": len(rates), "checkpoint_steps": 3}
    arguments = {"steps": 12, "engine": engine, "lasting": False, "patience": patience}

    def fault(_):
        if len(learner.batches) >= killed_in:
            raise Stopped
        return 1.0

    learner.fault = fault
    folder = tmp_path / "killed"
    with suppress(Stopped):
        run(learner, folder, corpus, held_out, **arguments)
    # What the resumed training has not seen, it must not be told of: the second learner's report goes on from there.
    kept = seal.newest(folder) or 0
    seen = (kept - 1) // 2  # An evaluation at the very step of a checkpoint comes after it, and is made again.
    again = Scripted(rates)
    again.seen = learner.seen[:seen]
    result = run(again, folder, corpus, held_out, **arguments)
    assert result.resumed_from == (kept or None)
    assert (result.stopped, result.steps, result.held_out) == (expected.stopped, expected.steps, expected.held_out)
    assert torch.equal(again.head.weight, whole.head.weight)
