"""Resuming is exact to the bit, from whichever checkpoint is whole."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest

from speechunits.engine import seal
from speechunits.errors import UsageError
from speechunits.run import file_hash
from speechunits.units.bundle import read_bundle
from tests.engine.tiny import TinyLearner, run, same, weights


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, corpus):
    learner = TinyLearner()
    run(learner, tmp_path_factory.mktemp("uninterrupted"), corpus, steps=30)
    return weights(learner)


class Killed(BaseException):
    """As sudden as kill -9 for the code under test: nothing catches it."""


def killed_after(batches):
    learner = TinyLearner()

    def fault(_):
        if len(learner.batches) > batches:
            raise Killed
        return 1.0

    learner.fault = fault
    return learner


@pytest.fixture
def interrupted(tmp_path, corpus):
    """A training killed in step 15, with checkpoints of steps 8 and 12."""
    with pytest.raises(Killed):
        run(killed_after(14), tmp_path, corpus, steps=30)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_12", "step_8"]
    return tmp_path


def test_resuming_is_exact_and_crosses_epochs(interrupted, corpus, uninterrupted):
    assert 30 > 2 * 8  # An epoch of this corpus has eight steps or a few more.
    learner = TinyLearner(seed=9)
    result = run(learner, interrupted, corpus, steps=30)
    assert result.resumed_from == 12
    assert len(learner.batches) == result.steps - 12
    assert same(weights(learner), uninterrupted)


@pytest.mark.parametrize("damage", ["bytes", "missing", "seal"])
def test_a_corrupt_checkpoint_is_moved_aside_and_the_older_one_used(interrupted, corpus, uninterrupted, damage, capfd):
    step = interrupted / "checkpoints" / "step_12"
    model = next((step / "model").rglob("*.pt"))
    if damage == "bytes":
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    elif damage == "missing":
        model.unlink()
    else:
        (step / seal.SEAL).unlink()
    learner = TinyLearner(seed=9)
    assert run(learner, interrupted, corpus, steps=30).resumed_from == 8
    assert same(weights(learner), uninterrupted)
    assert "the checkpoint of step 12 is corrupt" in capfd.readouterr().err
    assert (interrupted / "checkpoints" / "step_12.corrupt").is_dir()


def test_nothing_is_unpickled_before_its_hash_is_checked(interrupted, corpus, tmp_path):
    flag = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(flag),)

    for step in (8, 12):
        for file in (interrupted / "checkpoints" / f"step_{step}").rglob("*.pt"):
            file.write_bytes(pickle.dumps(Payload()))
    assert run(TinyLearner(), interrupted, corpus, steps=30).resumed_from is None
    assert not flag.exists()


def test_a_training_killed_before_its_last_evaluation_is_finished(tmp_path, corpus, held_out):
    first = run(TinyLearner(), tmp_path, corpus, held_out)
    record = json.loads((tmp_path / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**record, "result": None}))
    (tmp_path / "encoder.safetensors").unlink()
    learner = TinyLearner(seed=9)
    again = run(learner, tmp_path, corpus, held_out)
    assert (again.held_out, again.steps, learner.batches) == (first.held_out, first.steps, [])
    assert (tmp_path / "encoder.safetensors").exists()


def test_checkpoints_without_their_settings_are_not_guessed_at(interrupted, corpus):
    (interrupted / "training.json").unlink()
    with pytest.raises(UsageError, match=r"training\.json cannot be read"):
        run(TinyLearner(), interrupted, corpus, steps=30)


def test_checkpoints_by_the_clock(tmp_path, corpus):
    run(TinyLearner(), tmp_path, corpus, engine={"checkpoint_steps": None, "checkpoint_minutes": 0.0}, steps=5)
    steps = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert steps == ["step_4", "step_5"]


def test_what_does_not_last_resumes_and_leaves_nothing_of_its_end(tmp_path, corpus, uninterrupted):
    with pytest.raises(Killed):
        run(killed_after(14), tmp_path, corpus, steps=30, lasting=False)
    assert not list(tmp_path.rglob("encoder.safetensors"))
    learner = TinyLearner(seed=9)
    assert run(learner, tmp_path, corpus, steps=30, lasting=False).resumed_from == 12
    assert same(weights(learner), uninterrupted)
    assert seal.newest(tmp_path) == 28, "the checkpoint of the last step is not needed"
    # Killed before its weights were put where they belong: the end is trained again.
    again = TinyLearner(seed=8)
    assert run(again, tmp_path, corpus, steps=30, lasting=False).resumed_from == 28
    assert same(weights(again), uninterrupted)
    seal.forget_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_short_training_that_does_not_last_writes_no_checkpoint(tmp_path, corpus):
    run(TinyLearner(), tmp_path, corpus, engine={"checkpoint_steps": None}, lasting=False)
    assert seal.newest(tmp_path) is None


def test_left_over_halves_of_a_checkpoint_are_removed(tmp_path, corpus):
    half = tmp_path / "checkpoints" / "step_4.tmp"
    half.mkdir(parents=True)
    (half / "model").write_text("half")
    assert seal.settle(tmp_path) is None
    assert not half.exists()


COMMAND = """
import sys
from pathlib import Path
from tests.engine.tiny import TinyLearner, make_corpus, run
folder = Path(sys.argv[1])
corpus = make_corpus(folder / "corpus")
run(TinyLearner(), folder / "run", corpus, steps=400, engine={"checkpoint_steps": 7, "threads": 1})
"""


def start(folder):
    return subprocess.Popen([sys.executable, "-c", COMMAND, str(folder)], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_at_three_random_moments_it_ends_with_the_same_tensors(tmp_path):
    begun = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole_s = time.monotonic() - begun
    moments = random.Random(time.time_ns())
    kills = 0
    while kills < 3:
        process = start(tmp_path / "killed")
        run_folder = tmp_path / "killed" / "run"
        before = seal.newest(run_folder)
        while process.poll() is None and seal.newest(run_folder) == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.15 * whole_s))
        assert process.poll() is None, "it was over before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert start(tmp_path / "killed").wait() == 0
    one, _ = read_bundle(tmp_path / "whole" / "run" / "encoder.safetensors")
    other, _ = read_bundle(tmp_path / "killed" / "run" / "encoder.safetensors")
    assert same(one, other)
    states = [
        file_hash(next((tmp_path / name / "run" / "checkpoints" / "step_400" / "optimizer").rglob("*.pt")))
        for name in ("whole", "killed")
    ]
    assert states[0] == states[1]
