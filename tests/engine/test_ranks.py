"""Two ranks under torchrun train as one process does: DDP and FSDP2, resumed, stopped, in a row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechunits.units.bundle import read_bundle
from tests.engine.tiny import TinyLearner, make_corpus, run, weights

SCRIPT = Path(__file__).with_name("ranks.py")


def launch(folder, mode, parallel):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    root = str(SCRIPT.parents[2])
    done = subprocess.run(
        [*command, str(folder), mode, parallel], capture_output=True, text=True, check=False, timeout=600,
        env={**__import__("os").environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training in one process that accumulates two batches: the same global batch."""
    folder = tmp_path_factory.mktemp("alone")
    corpus = make_corpus(folder / "corpus")
    held_out = make_corpus(folder / "held_out", 3, seed=1, prefix="h")
    learner = TinyLearner()
    averages = []
    learner.set_progress = lambda step, _: averages.append(total(learner)) if step > 2 else None
    result = run(learner, folder / "run", corpus, held_out, engine={"accumulate": 2, "threads": 1})
    averages.append(total(learner))
    losses = [json.loads(line) for line in result.history.read_text().splitlines()]
    return weights(learner), result, losses, sum(averages) / len(averages)


def total(learner):
    return sum(float(value.detach().double().sum()) for value in learner.parameters())


def agree(folder, alone, reports):
    expected, result, losses, averaged = alone
    found = [report["averaged"] for report in reports if "averaged" in report]
    assert found == pytest.approx([averaged] * 2, rel=1e-4)
    tensors, _ = read_bundle(folder / "run" / "encoder.safetensors", "encoder")
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-4, atol=1e-6)
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 1
    first = next(row for row in losses if row["kind"] == "train")
    assert rows[0]["loss"] == pytest.approx(first["loss"], rel=1e-6)
    assert rows[0]["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-5)
    assert rows[-1]["audio_hours"] == pytest.approx(result.audio_hours)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_equal_one_process_at_the_same_global_batch(tmp_path, alone, parallel):
    reports, stderr = launch(tmp_path, "whole", parallel)
    agree(tmp_path, alone, reports)
    results = [report for report in reports if "steps" in report]
    assert [report["steps"] for report in results] == [12, 12]
    for report in results:
        assert report["held_out"] == pytest.approx(alone[1].held_out, rel=1e-4)
    assert "x real time" in stderr
    shards = list((tmp_path / "run" / "checkpoints" / "step_12" / "model").rglob("*.pt"))
    assert len(shards) == (2 if parallel == "fsdp" else 1)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "stopped"), [("interrupted", 6), ("late", 7)])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_signal_to_one_rank_stops_all_and_all_resume(tmp_path, alone, parallel, mode, stopped):
    reports, _ = launch(tmp_path, mode, parallel)
    messages = [report["interrupted"] for report in reports if "interrupted" in report]
    results = [report for report in reports if "steps" in report]
    assert len(messages) == len(results) == 2
    assert len({message.split(";")[0] for message in messages}) == 1
    assert {report["resumed_from"] for report in results} == {stopped}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "held_out"] == [6, 12]
    agree(tmp_path, alone, reports)


@pytest.mark.slow
def test_a_rank_without_held_out_speech_joins_in(tmp_path):
    reports, _ = launch(tmp_path, "uneven", "ddp")
    results = [report for report in reports if "steps" in report]
    assert len(results) == 2
    assert results[0]["held_out"] == results[1]["held_out"]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_rank_that_cannot_read_its_held_out_speech_joins_in(tmp_path, parallel):
    reports, stderr = launch(tmp_path, "unreadable", parallel)
    assert len(reports) == 2
    assert reports[0] == reports[1]
    assert reports[0]["held_out"]["frames"] > 0
    assert "gone.wav" in stderr


@pytest.mark.slow
def test_where_no_rank_can_read_held_out_speech_all_say_so(tmp_path):
    reports, _ = launch(tmp_path, "nothing", "ddp")
    assert len(reports) == 2
    assert all(report["stopped"].startswith("none of the held-out recordings can be read") for report in reports)
