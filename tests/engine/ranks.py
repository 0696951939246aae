"""What one rank runs in test_ranks.py: ``python -m torch.distributed.run … tests/engine/ranks.py FOLDER MODE``."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from speechunits.asr.average import WeightAverage
from speechunits.engine.native import prepare_fairseq2
from speechunits.errors import Interrupted, TrainingStopped
from tests.engine.tiny import TinyLearner, make_corpus, run

prepare_fairseq2()
from speechunits.engine.machine import whole  # noqa: E402 - wants fairseq2

folder, mode, parallel = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
corpus = make_corpus(folder / "corpus")
held_out = make_corpus(folder / "held_out", 3, seed=1, prefix="h")


def report(**values):
    # One write: what two ranks print in pieces into one pipe may come out interleaved.
    os.write(sys.stdout.fileno(), (json.dumps(values) + "\n").encode())


class Remembering(TinyLearner):
    """Remembers the mean of its last weights, as a recogniser does: it must come through a checkpoint on every rank."""

    def __init__(self, **changes):
        super().__init__(**changes)
        self.memory_ = WeightAverage(self, 0.8)

    @property
    def memory(self):
        return self.memory_

    def set_progress(self, step, total_steps):
        self.memory_.step(step, total_steps)

    def averaged(self):
        self.memory_.apply()
        return sum(float(whole(value).double().sum()) for value in self.parameters())


def once(name, learner, **changes):
    # One utterance to evaluate on: the second rank has none of its own.
    held = held_out[:1] if mode == "uneven" else held_out
    return run(learner, folder / name, corpus, held, per_step=2, engine={"parallel": parallel, "threads": 1}, **changes)


def lost(unreadable):
    """Train with two batches of held-out speech, one a rank, of which ``unreadable`` are of files that are gone."""
    held = make_corpus(folder / "two", 2, seconds=(1.9, 2.0), prefix="t")
    held.sort(key=lambda item: item.duration_s)  # as batches are made
    held[2 - unreadable :] = [replace(item, audio=folder / "gone.wav") for item in held[2 - unreadable :]]
    engine = {"parallel": parallel, "threads": 1, "checkpoint_steps": 6}
    try:
        result = run(TinyLearner(), folder / "lost", corpus, held, per_step=2, batch={"batch_s": 2.0}, engine=engine)
    except TrainingStopped as error:
        report(stopped=str(error))
    else:
        report(held_out=result.held_out)


if mode in ("unreadable", "nothing"):
    lost(1 if mode == "unreadable" else 2)
    sys.exit()
if mode in ("interrupted", "late"):
    # Late: in step 6, after which an evaluation is due, and the other rank does not know of the signal yet.
    step = 6 if mode == "late" else 5
    learner = Remembering()

    # Only one rank notices the signal; all of them must stop at the same step.
    def fault(_):
        if len(learner.batches) == step and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    learner.fault = fault
    try:
        once("run", learner)
    except Interrupted as error:
        report(interrupted=str(error))
    learner = Remembering(seed=5)
    result = once("run", learner)
else:
    learner = Remembering()
    result = once("run", learner)
    again = once("second", TinyLearner())
    assert again.held_out == result.held_out, "two trainings in a row differ"
report(averaged=learner.averaged())
report(steps=result.steps, resumed_from=result.resumed_from, held_out=result.held_out)
