"""What one rank runs in test_ranks.py: ``python -m torch.distributed.run … tests/engine/ranks.py FOLDER MODE``."""

import json
import os
import signal
import sys
from pathlib import Path

from speechunits.errors import Interrupted
from tests.engine.tiny import TinyLearner, make_corpus, run

folder, mode, parallel = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
corpus = make_corpus(folder / "corpus")
held_out = make_corpus(folder / "held_out", 3, seed=1, prefix="h")


def report(**values):
    # One write: what two ranks print in pieces into one pipe may come out interleaved.
    os.write(sys.stdout.fileno(), (json.dumps(values) + "\n").encode())


def once(name, learner, **changes):
    # One utterance to evaluate on: the second rank has none of its own.
    held = held_out[:1] if mode == "uneven" else held_out
    return run(learner, folder / name, corpus, held, per_step=2, engine={"parallel": parallel, "threads": 1}, **changes)


if mode in ("interrupted", "late"):
    # Late: in step 6, after which an evaluation is due, and the other rank does not know of the signal yet.
    step = 6 if mode == "late" else 5
    learner = TinyLearner()

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
    result = once("run", TinyLearner(seed=5))
else:
    result = once("run", TinyLearner())
    again = once("second", TinyLearner())
    assert again.held_out == result.held_out, "two trainings in a row differ"
report(steps=result.steps, resumed_from=result.resumed_from, held_out=result.held_out)
