"""The smallest recipe that runs every stage: what the tests of the spine change and train."""

from pathlib import Path

import yaml

from speechunits.config import RecipeConfig, build_config

ENCODER = {
    "channels": 32, "mel_bins": 40, "dim": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "position_kernel": 7,
    "position_groups": 4,
}  # fmt: skip
ENGINE = {"precision": "fp32", "tensorboard": False, "held_out_evaluations": 1, "threads": 1}
FINETUNE = {"budget": {"hours": 0.005}, "engine": ENGINE}
"""Two or three updates."""


def recipe_tree(folder: Path, runs: Path, **changes):
    """Return the tiny recipe for the corpus in ``folder`` as YAML holds it; ``changes`` are merged into it."""
    tree = {
        "name": "tiny",
        "runs": str(runs),
        "corpus": {"manifest": str(folder / "manifest.tsv"), "phones": str(folder / "phones.tsv")},
        "pretrain": {
            "learner": "masked_prediction",
            "encoder": ENCODER,
            "masked_prediction": {"clusters": 12, "target_layer": 1, "final_dim": 16},
            "batch": {"batch_s": 20.0, "crop_s": 5.0},
            "budget": {"hours": 0.03},
            "engine": ENGINE,
        },
        "units": {"clusters": 12, "layer": 1, "sample_frames": 4000, "iterations": 5},
        "pseudotext": {"pieces": 40},
        "reduction": {
            "minutes": [0.5], "baseline_minutes": [0.5, 1], "headline_minutes": 0.5, "seeds": 1, "bootstrap": 20,
            "finetune": FINETUNE, "untrained": FINETUNE, "logmel": FINETUNE,
        },
    }  # fmt: skip
    return _merged(tree, changes)


def make_recipe(folder: Path, runs: Path, **changes) -> RecipeConfig:
    """Return the tiny recipe as a configuration."""
    return build_config(RecipeConfig, recipe_tree(folder, runs, **changes))


def write_recipe(path: Path, folder: Path, runs: Path, **changes) -> Path:
    """Write the tiny recipe as YAML."""
    path.write_text(yaml.safe_dump(recipe_tree(folder, runs, **changes), sort_keys=False))
    return path


def _merged(tree, changes):
    merged = {key: _merged(value, {}) if isinstance(value, dict) else value for key, value in tree.items()}
    for key, value in changes.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged
