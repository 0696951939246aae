"""Steps are timed without waiting for a GPU in each of them."""

import json

import pytest
import torch

from speechunits.engine.native import prepare_fairseq2
from speechunits.engine.watch import StepWatch
from tests.engine.tiny import TinyLearner, run

prepare_fairseq2()
from speechunits.engine import steering  # noqa: E402 - wants fairseq2

CUDA = torch.device("cuda")


@pytest.fixture
def waits(monkeypatch):
    """Return the devices that were waited for."""
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    return waited


@pytest.mark.parametrize("device", [CUDA, torch.device("cpu")])
def test_only_a_step_that_is_told_to_waits_and_only_for_a_gpu(device, waits):
    watch = StepWatch(device)
    with watch:
        pass
    once = watch.get_elapsed_time()
    assert not waits
    with watch:
        watch.waits = True
    assert waits == [device] * (device.type == "cuda")
    assert watch.get_elapsed_time() > once > 0
    watch.reset()
    assert watch.get_elapsed_time() == 0


@pytest.mark.parametrize("progress_s", [0.0, 1e9])
def test_a_training_waits_once_for_each_line_that_it_publishes(progress_s, waits, tmp_path, corpus, monkeypatch):
    # The CPU stands in for a GPU.
    monkeypatch.setattr(steering, "StepWatch", lambda _: StepWatch(CUDA))
    result = run(TinyLearner(), tmp_path, corpus, steps=6, engine={"progress_s": progress_s})
    rows = [json.loads(line) for line in result.history.read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == ([1, 2, 3, 4, 5, 6] if progress_s == 0 else [6])
    assert waits == [CUDA] * len(rows)
