"""The benchmarks run, and time the same thing: equal losses on copied weights, masks and negatives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.slow  # two imports of everything that the peers need
@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_peers_compute_the_same_loss_and_everyone_is_timed(name, tmp_path):
    pytest.importorskip("transformers", reason="the [bench] extra is not installed")
    output = tmp_path / "result.json"
    shown = call(f"benchmarks.{name}", "--smoke", "--output", str(output))
    document = json.loads(output.read_text())
    (result,) = document["results"]
    ours = result["losses"]["ours"]
    assert result["losses"] == {peer: pytest.approx(ours, abs=1e-4) for peer in ("ours", "fairseq2", "Hugging Face")}
    assert {row["name"] for row in result["rows"]} >= {"ours", "fairseq2", "Hugging Face", "ours, log-mel"}
    assert all(row["ratio"] > 0 and row["step_s"] > 0 for row in result["rows"])
    assert document["machine"]["versions"]["fairseq2"] != "none"
    assert "time / ours" in shown


def test_limits_of_every_size():
    shown = call("benchmarks.limits", "--flops", "989e12", "--bytes", "4.8e12")
    for size in ("nano", "small", "medium", "large", "base"):
        assert size in shown


def test_without_a_gpu_the_check_says_so():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the check runs for real")
    assert "no GPU" in call("benchmarks.gpu_check")
