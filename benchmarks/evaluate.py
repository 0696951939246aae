"""Units of MFCC, an untrained encoder, a wav2vec 2.0 codebook and k-means, side by side on each corpus.

    python -m benchmarks.evaluate [--out results/evaluation] [RECIPE.yaml …]

Rows that a run does not hold are left out, with the reason.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from speechunits import fitting, pipeline
from speechunits.config import RecipeConfig, UnitsConfig, load_config, to_tree
from speechunits.errors import SpeechUnitsError
from speechunits.evaluation.sources import untrained_encoder
from speechunits.learners.targets import exported
from speechunits.quality import evaluate_units
from speechunits.units.bundle import read_bundle, write_bundle
from speechunits.units.units import Units

RECIPES = (Path("recipes/demo.yaml"), Path("recipes/mboshi.yaml"))
CODEBOOKS = ("{name}-wav2vec2", "objectives-wav2vec2")
"""Run folders where an encoder with a codebook may lie, the corpus's own first."""


def bundles_of(recipe: RecipeConfig, folder: Path) -> dict[str, Path]:
    """Return the bundles of a recipe's run by the name of their row, fitting what is missing; says what is left out."""
    experiment = pipeline.Experiment(recipe)
    found: dict[str, Path] = {}
    if experiment.mfcc_units.exists():
        found["MFCC"] = experiment.mfcc_units
    if not experiment.encoder.exists():
        skip("k-means, untrained", f"{experiment.encoder} does not exist; `speechunits pretrain` makes it")
        return found
    trained = experiment.units
    if not trained.exists():
        trained = folder / "units.safetensors"
        fitting.fit_units(experiment.encoder, experiment.corpus, recipe.units, trained)
    layer = Units.load(trained).header["units"]["layer"]
    config = replace(recipe.units, source="kmeans", layer=layer)
    untrained = folder / "untrained-units.safetensors"
    fitting.fit_units(untrained_bundle(experiment.encoder, folder), experiment.corpus, config, untrained)
    found["untrained, k-means"] = untrained
    codebook = codebook_units(recipe, folder, experiment)
    if codebook is not None:
        found["wav2vec 2.0 codebook"] = codebook
    found["pretrained, k-means"] = trained
    return found


def untrained_bundle(trained: Path, folder: Path) -> Path:
    """Write an encoder of the same configuration with random weights."""
    encoder = untrained_encoder(read_bundle(trained, "encoder")[1], seed=0)
    path = folder / "untrained.safetensors"
    tensors = exported(encoder=encoder)
    write_bundle(path, tensors, {"kind": "encoder", "encoder": to_tree(encoder.config)})
    return path


def codebook_units(recipe: RecipeConfig, folder: Path, experiment: pipeline.Experiment) -> Path | None:
    """Fit units on a wav2vec 2.0 codebook, reduced to K entries; None if no run holds one."""
    for pattern in CODEBOOKS:
        path = recipe.runs / pattern.format(name=recipe.name) / "pretrain" / "encoder.safetensors"
        if path.exists() and "quantizer" in read_bundle(path, "encoder")[1]:
            out = folder / "codebook-units.safetensors"
            config = UnitsConfig(source="codebook", clusters=recipe.units.clusters or 100)
            fitting.fit_units(path, experiment.corpus, config, out)
            return out
    wanted = " or ".join(str(recipe.runs / pattern.format(name=recipe.name)) for pattern in CODEBOOKS)
    skip("wav2vec 2.0 codebook", f"no encoder with a codebook in {wanted}")
    return None


def skip(row: str, reason: str) -> None:
    """Say that a row is left out."""
    print(f"left out: {row}: {reason}", file=sys.stderr)


def main() -> None:
    """Measure every recipe's corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, default=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("results/evaluation"))
    options = parser.parse_args()
    for path in options.recipes:
        recipe = load_config(RecipeConfig, path)
        folder = recipe.runs / "evaluation" / recipe.name
        try:
            corpus = pipeline.load_corpus(recipe.corpus)
            bundles = bundles_of(recipe, folder)
            if not bundles:
                skip(recipe.name, "nothing to measure")
                continue
            text = evaluate_units(bundles, corpus, recipe.corpus.dev, folder)
        except SpeechUnitsError as error:
            skip(recipe.name, str(error))
            continue
        for suffix in ("json", "md"):
            target = options.out / f"{recipe.name}.{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((folder / f"units.{suffix}").read_bytes())
        print(f"{recipe.name}, {recipe.corpus.dev}\n\n{text}")


if __name__ == "__main__":
    main()
