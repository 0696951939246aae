"""How a training ends before its time: signals, losses that are not finite, collapse, a full disk."""

import errno
import json
import os
import signal

import pytest
import torch

from speechunits.engine import seal
from speechunits.engine.native import prepare_fairseq2
from speechunits.errors import Collapsed, Interrupted, TrainingStopped, UsageError
from speechunits.units.bundle import encoder_path
from tests.engine.tiny import TinyLearner, run, same, weights


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, corpus):
    learner = TinyLearner()
    run(learner, tmp_path_factory.mktemp("uninterrupted"), corpus)
    return weights(learner)


def at_batch(number, action):
    """Return a fault that acts in the forward pass of one batch."""
    seen = []

    def fault(batch):
        seen.append(batch)
        return action() if len(seen) == number else 1.0

    return fault


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_resumes(tmp_path, corpus, held_out, uninterrupted, number):
    before = signal.getsignal(number)
    learner = TinyLearner()
    learner.fault = at_batch(5, lambda: os.kill(os.getpid(), number) or 1.0)
    with pytest.raises(Interrupted, match=f"stopped by {number.name} after step . of 12") as stopped:
        run(learner, tmp_path, corpus, held_out)
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    assert len(learner.batches) <= 7
    assert seal.newest(tmp_path) == len(learner.batches)
    with pytest.raises(UsageError, match=r"the training in .* has begun but not ended: the same command goes on"):
        encoder_path(tmp_path)
    resumed = TinyLearner(seed=1)
    result = run(resumed, tmp_path, corpus, held_out)
    assert (result.resumed_from, result.steps) == (len(learner.batches), 12)
    assert same(weights(resumed), uninterrupted)
    steps = [int(line.split('"step": ')[1].split(",")[0]) for line in result.history.read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.parametrize("lasting", [True, False])
@pytest.mark.parametrize("batch", [11, 12])
def test_a_signal_in_the_last_steps_is_not_lost(tmp_path, corpus, held_out, uninterrupted, batch, lasting):
    learner = TinyLearner()
    learner.fault = at_batch(batch, lambda: signal.raise_signal(signal.SIGTERM) or 1.0)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 12 of 12"):
        run(learner, tmp_path, corpus, held_out, lasting=lasting)
    assert len(learner.batches) == 12
    if lasting:
        assert encoder_path(tmp_path).exists()
    resumed = TinyLearner(seed=1)
    result = run(resumed, tmp_path, corpus, held_out, lasting=lasting)
    assert result.steps == 12
    # Of one that does not last nothing was kept of the last step where the signal came in it.
    assert result.resumed_from == (12 if lasting or batch == 11 else 8)
    assert same(weights(resumed), uninterrupted)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_acts_at_once(tmp_path, corpus, monkeypatch):
    prepare_fairseq2()
    monkeypatch.setattr("speechunits.engine.steering._ECHO_S", 0.0)
    learner = TinyLearner()
    # Raised, not sent: two signals of one kind that wait for delivery would be merged into one.
    kill = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    learner.fault = at_batch(3, lambda: kill() or kill() or 1.0)
    with pytest.raises(KeyboardInterrupt):
        run(learner, tmp_path, corpus)


def test_the_echo_of_a_signal_does_not(tmp_path, corpus):
    learner = TinyLearner()
    end = lambda: signal.raise_signal(signal.SIGTERM)  # noqa: E731
    learner.fault = at_batch(3, lambda: end() or end() or 1.0)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step"):
        run(learner, tmp_path, corpus)
    assert seal.newest(tmp_path) == len(learner.batches)


def test_a_signal_that_is_ignored_stays_so(tmp_path, corpus, uninterrupted):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        learner = TinyLearner()
        learner.fault = at_batch(5, lambda: signal.raise_signal(signal.SIGINT) or 1.0)
        run(learner, tmp_path, corpus)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert same(weights(learner), uninterrupted)


def test_a_loss_that_is_not_finite_is_skipped_named_and_counted(tmp_path, corpus, capfd):
    learner = TinyLearner()
    states = []
    learner.fault = at_batch(3, lambda: states.append(weights(learner)) or float("nan"))
    result = run(learner, tmp_path, corpus)
    assert result.skipped_batches == 1
    assert result.steps == 12
    assert all(torch.isfinite(value).all() for value in weights(learner).values())
    assert "\n".join(learner.batches[2].ids[:1]) in capfd.readouterr().err
    rows = result.history.read_text().splitlines()
    assert '"skipped_batches": 1' in rows[-1]
    assert "NaN" not in "".join(rows)


def test_losses_that_stay_wrong_stop_it(tmp_path, corpus):
    learner = TinyLearner()
    learner.fault = lambda batch: float("inf") if len(learner.batches) > 5 else 1.0
    with pytest.raises(TrainingStopped, match=r"5 steps in a row.*precision=fp32") as stopped:
        run(learner, tmp_path, corpus)
    assert stopped.value.exit_code == 3
    assert seal.settle(tmp_path) == 8
    assert all(torch.isfinite(value).all() for value in weights(learner).values())


def test_collapse_is_named_after_three_evaluations_past_the_start(tmp_path, corpus, held_out):
    learner = TinyLearner()
    learner.collapsed = True
    with pytest.raises(
        Collapsed, match=r"collapsed .3 .*perplexity 1\.00, by step 10 of 20.*20 steps may be too few"
    ) as stopped:
        # Evaluations after every second step; those up to step 4 (20 %) are forgiven.
        run(learner, tmp_path, corpus, held_out, steps=20, engine={"held_out_evaluations": 10})
    assert stopped.value.exit_code == 3
    assert seal.settle(tmp_path) == 10
    with pytest.raises(UsageError, match=r"holds no encoder\.safetensors; the training in .* collapsed \(3 .*: perpl.*"
                       r"name=NEW.*, or take .*step_10/encoder\.safetensors$"):  # fmt: skip
        encoder_path(tmp_path)
    healthy = TinyLearner()
    run(healthy, tmp_path / "healthy", corpus, held_out, steps=20, engine={"held_out_evaluations": 10})
    assert len(healthy.batches) == 20
    assert encoder_path(tmp_path / "healthy") == tmp_path / "healthy" / "encoder.safetensors"


class Killed(BaseException):
    """As sudden as kill -9 for the code under test: nothing catches it."""


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    return 1.0


@pytest.mark.parametrize(
    ("action", "step", "error"),
    [(terminate, 7, Interrupted), (terminate, 8, Interrupted), (kill, 10, Killed), (kill, 9, Killed)],
)
def test_a_collapse_is_seen_whenever_the_training_is_interrupted(tmp_path, corpus, held_out, action, step, error):
    engine = {"held_out_evaluations": 3}  # after steps 4, 8 and 12
    learner = TinyLearner()
    learner.collapsed, learner.fault = True, at_batch(step, action)
    with pytest.raises(error):
        run(learner, tmp_path, corpus, held_out, engine=engine)
    learner = TinyLearner()
    learner.collapsed = True
    with pytest.raises(TrainingStopped, match="by step 12 of 12"):
        run(learner, tmp_path, corpus, held_out, engine=engine)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "held_out"] == [4, 8, 12]


def test_an_evaluation_made_up_for_may_end_a_training(tmp_path, corpus, held_out):
    engine = {"held_out_evaluations": 6, "checkpoint_steps": 8}  # evaluations after every second step
    learner = TinyLearner()
    learner.collapsed, learner.fault = True, at_batch(8, terminate)
    with pytest.raises(TrainingStopped, match=r"by step 8 of 12"):
        run(learner, tmp_path, corpus, held_out, engine=engine)
    learner = TinyLearner()
    learner.collapsed = True
    with pytest.raises(TrainingStopped, match="by step 8 of 12"):
        run(learner, tmp_path, corpus, held_out, engine=engine)
    assert learner.batches == []


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, corpus, monkeypatch, uninterrupted):
    prepare_fairseq2()
    from speechunits.engine import checkpoint

    dump, saved = checkpoint._Dumper.dump, []

    def full(self, data, file, options=None):
        saved.append(file)
        if len(saved) > 6:  # The second checkpoint, its third file.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        dump(self, data, file, options)

    monkeypatch.setattr(checkpoint._Dumper, "dump", full)
    with pytest.raises(TrainingStopped, match=r"No space left on device.*the one of step 4 is kept"):
        run(TinyLearner(), tmp_path, corpus)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_4"]
    monkeypatch.undo()
    resumed = TinyLearner(seed=1)
    assert run(resumed, tmp_path, corpus).resumed_from == 4
    assert same(weights(resumed), uninterrupted)
