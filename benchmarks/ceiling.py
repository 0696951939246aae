"""What phone labels would buy: PNMI of a network trained on them, beside units that never saw any.

    python -m benchmarks.ceiling RECIPE.yaml [NAME=units.safetensors …] [-o runs/benchmarks/ceiling.json]

Aligned recordings of dev are divided by speaker, 7 to 3. On the larger part a small network learns phones from the
features under each bundle (and from MFCC), a quarter of a second of them at once; on the rest stand the PNMI of the
phones it names, of k-means on its posteriors, and of the bundle's own units. All without silence, over three seeds. A
goal for units without labels that lies above these asks for more than the labels themselves can give.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.config import RecipeConfig, load_config
from speechunits.evaluation.phones import unit_quality
from speechunits.evaluation.probe.examples import fit_recordings, phone_examples
from speechunits.evaluation.sources import features_of, open_sources
from speechunits.pipeline import load_corpus
from speechunits.run import write_json
from speechunits.units.kmeans import fit_kmeans, nearest
from speechunits.units.units import Units

FloatArray = NDArray[np.float32]
SHARE, SEEDS = 0.7, (0, 1, 2)
_SHIFTS = (-6, -3, 0, 3, 6)
_WIDTH, _EPOCHS, _BATCH, _RATE, _DROPOUT = 384, 8, 512, 2e-3, 0.3
_FITTED = 60_000


def in_context(frames: FloatArray) -> FloatArray:
    """Return ``(S, 5 D)`` frames beside those 60 and 120 ms before and after."""
    places = np.arange(len(frames))
    return np.concatenate([frames[np.clip(places + shift, 0, len(frames) - 1)] for shift in _SHIFTS], axis=1)


def trained(points: FloatArray, labels: NDArray[np.int64], classes: int, seed: int) -> nn.Module:
    """Return a network of one hidden layer that has learnt the labels of ``(N, D)`` points."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(points.shape[1], _WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, classes)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    inputs, targets = torch.from_numpy(points), torch.from_numpy(labels)
    for _ in range(_EPOCHS):
        for batch in torch.split(torch.randperm(len(inputs)), _BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()


@torch.no_grad()
def measure(
    features: dict[str, FloatArray],
    recordings: list[Recording],
    phones: dict[str, list[Phone]],
    clusters: int,
    seed: int,
) -> tuple[float, float, list[Recording]]:
    """Return PNMI of named phones and of k-means on posteriors, and the recordings that tested them."""
    side = fit_recordings(recordings, SHARE, seed)
    fitted = [row for row, chosen in zip(recordings, side, strict=True) if chosen]
    tested = [row for row, chosen in zip(recordings, side, strict=True) if not chosen]
    examples = phone_examples(fitted, phones)
    kept = examples.firsts < np.array([len(features[fitted[owner].id]) for owner in examples.owners])
    windows = [in_context(features[row.id]) for row in fitted]
    points = np.stack(
        [windows[owner][first] for owner, first in zip(examples.owners[kept], examples.firsts[kept], strict=True)]
    )
    mean, scale = points.mean(axis=0), points.std(axis=0) + np.float32(1e-5)
    with torch.enable_grad():
        network = trained((points - mean) / scale, examples.labels[kept], len(examples.names), seed)

    def posteriors(frames: FloatArray) -> FloatArray:
        roots: FloatArray = network(torch.from_numpy(frames)).softmax(dim=1).sqrt().numpy()
        return roots

    # Distances of square roots of probabilities are Hellinger's.
    drawn = np.random.default_rng(seed).permutation(len(points))[:_FITTED]
    inventory = torch.from_numpy(fit_kmeans(posteriors((points[drawn] - mean) / scale), clusters, seed=seed).centroids)
    found = [posteriors((in_context(features[row.id]) - mean) / scale) for row in tested]
    named = [(rows.argmax(axis=1), phones[row.id]) for rows, row in zip(found, tested, strict=True)]
    units = [(nearest(rows, inventory), phones[row.id]) for rows, row in zip(found, tested, strict=True)]
    return (unit_quality(named, len(examples.names)).without_silence.pnmi,
            unit_quality(units, clusters).without_silence.pnmi, tested)  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("bundles", nargs="*", metavar="NAME=BUNDLE")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks/ceiling.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_config(RecipeConfig, arguments.recipe)
    corpus = load_corpus(recipe.corpus)
    phones = {name: list(rows) for name, rows in corpus.phones.items()}
    recordings = [row for row in corpus.split(recipe.corpus.dev) if row.id in phones]
    clusters = recipe.units.clusters or 100
    bundles = {name: Path(path) for name, _, path in (word.partition("=") for word in arguments.bundles)}
    sources = open_sources({"MFCC": "mfcc", **{name: str(path) for name, path in bundles.items()}})
    rows: list[dict[str, Any]] = []
    for source in sources:
        features = features_of(source, recordings)
        units = Units.load(bundles[source.name]) if source.name in bundles else None
        ids = {} if units is None else {row.id: found for row, found in units.recordings(recordings)}
        for seed in SEEDS:
            named, ceiling, tested = measure(features, recordings, phones, clusters, seed)
            own = None if units is None else unit_quality(
                [(ids[row.id], phones[row.id]) for row in tested], units.clusters).without_silence.pnmi  # fmt: skip
            rows.append({"features": source.name, "seed": seed, "phones": named, "posteriors": ceiling, "units": own})
    table = Table("features", "PNMI of named phones %", f"of {clusters} clusters of posteriors %", "of the units %")
    for name in dict.fromkeys(row["features"] for row in rows):
        chosen = [row for row in rows if row["features"] == name]
        cells = [[row[key] for row in chosen if row[key] is not None] for key in ("phones", "posteriors", "units")]
        table.add_row(name, *(f"{100 * np.mean(cell):.1f}" if cell else "–" for cell in cells))
    Console(width=120).print(table)
    write_json(arguments.output, {"benchmark": "ceiling", "recordings": len(recordings), "share": SHARE, "rows": rows})


if __name__ == "__main__":
    main()
