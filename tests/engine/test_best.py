"""Ending early: the weights of the best held-out evaluation stay, and patience has an end."""

import pytest
import torch

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
    result = run(learner, tmp_path, corpus, held_out, steps=12, engine=engine, checkpoints=False, patience=patience)
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


def test_patience_needs_something_held_out_and_no_checkpoints(tmp_path, corpus, held_out):
    for arguments in ({"checkpoints": True}, {"checkpoints": False, "held_out": ()}):
        given = {"held_out": held_out, **arguments}
        with pytest.raises(UsageError, match="patience must be 0"):
            run(TinyLearner(), tmp_path, corpus, given.pop("held_out"), patience=2, **given)
