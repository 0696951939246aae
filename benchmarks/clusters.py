"""K without labels: what each criterion would choose among several K, and what phones say of every one of them.

    python -m benchmarks.clusters MANIFEST PHONES NAME=RUN … [--sizes 25 50 100 200] [-o runs/benchmarks/clusters.json]

On the layer chosen without labels, all K fitted on the same sample. Judges are corrected PNMI (which still grows
with K) and the ABX error of units: triphones, across speakers, edit distance of merged units. More corpora: call it
again with the same output, rows are added.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from speechunits.audio.corpus import Corpus, corpus_of
from speechunits.config import UnitsConfig
from speechunits.evaluation.abx.items import items_from_phones
from speechunits.evaluation.abx.measure import QUICK, measure_abx
from speechunits.evaluation.layers import Choice, measure_layers
from speechunits.evaluation.select import select_layer
from speechunits.evaluation.survey import JUDGED_FRAMES
from speechunits.report.tables import markdown
from speechunits.run import read_json, write_json
from speechunits.units.bundle import encoder_path
from speechunits.units.fit import fit_units
from speechunits.units.sample import part

CRITERIA = ("predictability", "run_predictability", "view_information", "stability")
_FRAMES = 50_000


def measure(encoder: Path, corpus: Corpus, sizes: list[int]) -> dict[str, Any]:
    """Return the layer chosen, and by K the criteria, corrected PNMI, and the ABX error of units."""
    train, tune = corpus.split("train"), corpus.split("tune")
    layer = select_layer(encoder, train, tune, UnitsConfig()).layer
    heard = part([row for row in corpus.split("dev") if row.id in corpus.phones], JUDGED_FRAMES, 0)
    found = measure_layers(
        encoder, train, tune, UnitsConfig(layer=layer), CRITERIA, sample_frames=_FRAMES, train_frames=_FRAMES,
        judged=[(row, corpus.phones[row.id]) for row in heard], choices=[Choice(layer, size) for size in sizes],
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        config = UnitsConfig(layer=layer, sample_frames=_FRAMES)
        bundles = {str(size): Path(folder) / f"{size}.safetensors" for size in sizes}
        for size, path in bundles.items():
            fit_units(encoder, train, replace(config, clusters=int(size)), path=path)
        items = items_from_phones(heard, corpus.phones, "triphone")
        errors = [row["error"] for row in measure_abx([], bundles, items, heard, QUICK)["scores"]]
    return {"layer": layer, "sizes": sizes, "scores": dict(found.scores), "pnmi_corrected": found.pnmi_corrected,
            "unit_abx": errors}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line an encoder and criterion: the K it takes, and what that costs in points of either judge."""
    lines = []
    for criterion in CRITERIA:
        costs = []
        for row in rows:
            place = int(np.argmax(row["scores"][criterion]))
            pnmi, abx = row["pnmi_corrected"], row["unit_abx"]
            costs.append((100 * (max(pnmi) - pnmi[place]), 100 * (abx[place] - min(abx))))
            cells = [" / ".join(f"{100 * value:.1f}" for value in values) for values in (pnmi, abx)]
            lines.append((row["encoder"], criterion, str(row["sizes"][place]), *cells,
                          *(f"{cost:.1f}" for cost in costs[-1])))  # fmt: skip
        for title, summary in (("mean", np.mean), ("worst", np.max)):
            lines.append((title, criterion, "", "", "", *(f"{summary(cost):.1f}" for cost in zip(*costs, strict=True))))
    sizes = " / ".join(map(str, rows[0]["sizes"]))
    heads = (f"PNMI, corrected, %, K = {sizes}", "ABX of units, %", "costs, PNMI", "costs, ABX")
    return markdown(("encoder", "criterion", "K", *heads), lines)


def main() -> None:
    """Measure what the output does not hold yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("phones", type=Path)
    parser.add_argument("encoders", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks/clusters.json"))
    arguments = parser.parse_args()
    corpus = corpus_of(arguments.manifest, arguments.phones)
    rows: list[dict[str, Any]] = read_json(arguments.output) if arguments.output.exists() else []
    for name, _, path in (word.partition("=") for word in arguments.encoders):
        if all(row["encoder"] != name for row in rows):
            rows.append({"encoder": name, **measure(encoder_path(Path(path)), corpus, arguments.sizes)})
            write_json(arguments.output, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
