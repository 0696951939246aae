"""Several ranks by the command line, as the recipes say: torchrun starts the command, the first rank has the folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from speechunits.units.bundle import read_bundle
from tests.spine import write_recipe

COMMAND = Path(sys.executable).with_name("speechunits")
ROOT = Path(__file__).parents[2]


def launch(*words, code=0):
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *ranks, str(COMMAND), *map(str, words)], capture_output=True, text=True, check=False,
        timeout=600, env={**__import__("os").environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode != 0) == (code != 0), done.stderr[-4000:]
    return done.stderr


def settings(place):
    return json.loads((place / "training.json").read_text())["settings"]


@pytest.mark.slow
def test_two_ranks_pretrain_in_two_passes_and_fine_tune(tmp_path, tiny_corpus):
    pretrain = {"masked_prediction": {"passes": 2, "target_layer": "auto"}, "batch": {"batch_s": 10.0}}
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny_corpus, tmp_path, pretrain=pretrain)
    said = launch("pretrain", recipe)
    assert said.count("── pretrain") == 1
    assert said.count("targets: 100 %") == 2, "each pass has its targets made once"
    folder = tmp_path / "tiny"
    assert (folder / "recipe.yaml").exists()
    record = json.loads((folder / "pretrain" / "pretrain.json").read_text())
    assert len(record["passes"]) == 2
    for place in (folder / "pretrain" / "pass1", folder / "pretrain"):
        assert settings(place)["ranks"] == 2
        assert {"encoder.safetensors", "targets.safetensors", "target_units.safetensors"} <= {
            path.name for path in place.iterdir()
        }
    assert not list(folder.rglob("*.part*"))
    # Once more: all is done, and no units are found again.
    assert "targets" not in launch("pretrain", recipe)
    launch("finetune", recipe)
    _, header = read_bundle(folder / "asr.safetensors", "recognizer")
    assert header["side"] == "pretrained"
    launch("finetune", recipe, "--side", "logmel", "reduction.logmel.self_training.rounds=1")
    assert list(folder.rglob("round1/labels.json")), "one rank listens for both"
    said = launch("run", recipe, code=2)
    assert "2 ranks can only pretrain or fine-tune together" in said


@pytest.mark.slow
def test_two_ranks_pretrain_with_wav2vec2(tmp_path, tiny_corpus):
    pretrain = {"learner": "wav2vec2", "wav2vec2": {"quantizer": {"entries": 8}, "final_dim": 16}}
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny_corpus, tmp_path, pretrain=pretrain)
    launch("pretrain", recipe)
    folder = tmp_path / "tiny" / "pretrain"
    assert settings(folder)["ranks"] == 2
    assert any(name.startswith("quantizer.") for name in read_bundle(folder / "encoder.safetensors", "encoder")[0])
    assert len(json.loads((folder / "pretrain.json").read_text())["passes"]) == 1
