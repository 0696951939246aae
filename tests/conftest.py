"""What the tests of several folders share."""

import contextlib
import io
import os
import signal

import pytest
from hypothesis import settings

from tests.spine import make_recipe

# The first example of a test pays for imports and compilation: a deadline would only measure the machine.
settings.register_profile("speechunits", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("speechunits")


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """Return the folder of a synthetic corpus of three and a half minutes: manifest.tsv, phones.tsv."""
    from speechunits.audio.synthetic import synthesise
    from speechunits.config import SynthConfig

    out = tmp_path_factory.mktemp("tiny") / "corpus"
    synthesise(out, SynthConfig(hours=0.06, voices=9, jobs=1))
    return out


@pytest.fixture(scope="session")
def tiny_runs(tiny_corpus, tmp_path_factory):
    """Return a folder of runs in which the tiny recipe has its encoder and its units: copy it to change it."""
    from speechunits import pipeline

    runs = tmp_path_factory.mktemp("runs")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipeline.run(make_recipe(tiny_corpus, runs), ("data", "pretrain", "units", "pseudotext"))
    return runs


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C: a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
