"""The benchmarks run, and time the same thing: equal losses on copied weights, masks and negatives."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechunits.audio.manifest import Recording, write_manifest

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


@pytest.mark.slow  # as above
def test_every_contender_writes_the_same_units(tmp_path):
    pytest.importorskip("transformers", reason="the [bench] extra is not installed")
    output = tmp_path / "result.json"
    options = ["--smoke", "--files", "4", "--longest-s", "3", "--clusters", "20", "--threads", "1"]
    call("benchmarks.transcribe", *options, "--output", str(output))
    document = json.loads(output.read_text())
    agreement = {row["name"]: row["agreement"] for row in document["rows"]}
    assert agreement["HF + scikit-learn, fp32"] == 1
    assert agreement["ours, fp32"] > 0.999
    assert agreement["ONNX Runtime, fp32"] > 0.999
    assert all(row["ratio"] > 0 for row in document["rows"])
    assert document["small"]["first_unit_s"] > 0


@pytest.mark.slow
def test_k_means_reaches_what_the_peer_reaches(tmp_path):
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", np.random.default_rng(index).normal(0, 0.1, 160_000), 16_000)
    rows = [Recording(id=str(k), audio=tmp_path / f"{k}.wav", duration_s=10.0, split="train") for k in range(3)]
    write_manifest(tmp_path / "m.tsv", rows)
    output = tmp_path / "result.json"
    shared = ["--manifest", str(tmp_path / "m.tsv"), "--clusters", "10", "--output", str(output)]
    call("benchmarks.kmeans", *shared, "--points", "1400", "--seeds", "1")
    (result,) = json.loads(output.read_text())["results"]
    assert [row["name"] for row in result["rows"]][1:] == ["ours, sample", "ours, pass"]
    assert all(row["seconds"] > 0 for row in result["rows"])
    call("benchmarks.kmeans", *shared, "--large", "20000")
    measured = json.loads(output.read_text())["large"]
    assert measured["points"] == 20_000
    assert 0 < measured["peak_mib"] < 2048


def test_limits_of_every_size():
    shown = call("benchmarks.limits", "--flops", "989e12", "--bytes", "4.8e12")
    for size in ("nano", "small", "medium", "large", "base"):
        assert size in shown


def test_without_a_gpu_the_check_says_so():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the check runs for real")
    assert "no GPU" in call("benchmarks.gpu_check")


@pytest.mark.slow  # hundreds of steps
def test_ways_to_log_mel_are_timed(tmp_path):
    output = tmp_path / "result.json"
    shown = call(
        "benchmarks.features_ahead", "--sizes", "nano", "--threads", "1", "--rounds", "2", "--recordings", "4",
        "--batch-s", "4", "--output", str(output),
    )  # fmt: skip
    (result,) = json.loads(output.read_text())["results"]
    assert list(result["ways"]) == ["inside", "ahead", "kept", "mapped"]
    assert result["ways"]["inside"]["processor_ratio"] == 1
    assert all(row["wall_s"] > 0 and row["processor_s"] > 0 for row in result["ways"].values())
    assert "cpu time / inside" in shown
