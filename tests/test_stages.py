"""The smoke demo as a newcomer runs it: every stage in processes of their own, stopped and begun again."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechunits.units.bundle import read_bundle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "recipes" / "demo-smoke.yaml"


def command(runs, *words):
    """Return ``speechunits run`` on the smoke recipe with everything it writes below ``runs``."""
    corpus = runs / "corpus"
    return [
        sys.executable, "-c", "import sys; from speechunits.cli import main; sys.exit(main())", *words, str(SMOKE),
        f"runs={runs}", f"corpus.manifest={corpus / 'manifest.tsv'}", f"corpus.phones={corpus / 'phones.tsv'}",
    ]  # fmt: skip


def run(runs, *words):
    return subprocess.run(command(runs, *words), cwd=ROOT, capture_output=True, text=True, check=False)


def lines(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("metrics.jsonl"))}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a runs folder that holds the smoke demo's corpus."""
    runs = tmp_path_factory.mktemp("demo")
    done = run(runs, "run", "--only", "data")
    assert done.returncode == 0, done.stderr
    return runs


@pytest.fixture(scope="module")
def demo(runs):
    """Return the runs folder of a finished smoke demo, and what it said."""
    return runs, run(runs, "run")


def test_the_demo_runs_to_its_last_screen(demo):
    runs, done = demo
    assert done.returncode == 0, done.stderr
    assert "too small to measure a factor" in done.stdout
    assert "saves a factor" not in done.stdout
    folder = runs / "demo-smoke"
    for name in ("recipe.yaml", "pretrain/pretrain.json", "pretrain/encoder.safetensors", "pretrain/metrics.jsonl",
                 "units.safetensors", "mfcc.safetensors", "units.json", "dev.tsv", "asr.safetensors", "results.json",
                 "reduction.md", "reduction.png"):  # fmt: skip
        assert (folder / name).stat().st_size > 0
    assert "pseudotext" in read_bundle(folder / "units.safetensors", "units")[1]
    rows = (folder / "dev.tsv").read_text().count("\n") - 1
    for form, suffix in (("text", "txt"), ("jsonl", "jsonl"), ("textgrid", "TextGrid")):
        assert len(list((folder / "transcripts" / form).glob(f"*.{suffix}"))) == rows
    results = json.loads((folder / "results.json").read_text())
    cells = {(score["side"], score["minutes"]) for score in results["scores"]}
    assert cells == {(side, minutes) for side in ("pretrained", "untrained", "logmel") for minutes in (1.0, 4.0)}


def test_a_second_run_trains_nothing(demo):
    runs, _ = demo
    folder = runs / "demo-smoke"
    before, bundles = (
        lines(folder),
        {name: (folder / name).read_bytes() for name in ("units.safetensors", "asr.safetensors")},
    )
    done = run(runs, "run")
    assert done.returncode == 0, done.stderr
    assert len(before) == 7
    assert lines(folder) == before
    assert {name: (folder / name).read_bytes() for name in bundles} == bundles
    assert "too small to measure a factor" in done.stdout


def test_the_table_is_recomputed_from_results_alone(demo, tmp_path):
    runs, _ = demo
    shutil.copy(runs / "demo-smoke" / "results.json", tmp_path)
    done = run(tmp_path, "reduction", "--from-saved", str(tmp_path / "results.json"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reduction.md").read_text() == (runs / "demo-smoke" / "reduction.md").read_text()


def test_a_pretraining_stopped_by_sigterm_goes_on(runs, tmp_path):
    shutil.copytree(runs / "corpus", tmp_path / "corpus")
    # Two evaluations: so short a training has not left the start, which three in a row would call a collapse.
    settings = ["pretrain.budget.hours=0.3", "pretrain.engine.checkpoint_steps=1000",
                "pretrain.engine.held_out_evaluations=2"]  # fmt: skip
    words = [*command(tmp_path, "pretrain"), *settings]
    folder = tmp_path / "demo-smoke" / "pretrain"
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not (folder / "training.json").exists() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(0.5)  # Some steps in: which one does not matter.
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate()
    assert process.returncode == 143, error
    assert "stopped by SIGTERM after step" in error
    assert not (folder / "pretrain.json").exists()
    assert list((folder / "checkpoints").glob("step_*"))
    resumed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    record = json.loads((folder / "pretrain.json").read_text())
    assert record["passes"][0]["audio_hours"] >= 0.3
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == record["passes"][0]["steps"]
