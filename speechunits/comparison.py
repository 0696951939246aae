"""Recipes side by side: a training for each recipe and seed, units, common figures. What is finished is kept."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from speechunits.audio.corpus import Corpus, drawn, load_corpus
from speechunits.compute import encoder_passes
from speechunits.config import PretrainConfig, RecipeConfig, UnitsConfig, to_tree
from speechunits.config.pretrain import deciding_batch
from speechunits.errors import Collapsed, UsageError
from speechunits.evaluation.abx.measure import QUICK
from speechunits.fitting import fit_units
from speechunits.pretraining import pretrain_passes
from speechunits.processes import in_processes
from speechunits.quality import measure_units
from speechunits.report.comparison import BOUND_VERSION
from speechunits.representation import HEARD_HOURS, PROBES, measure_representation
from speechunits.run import RunFolder, content_key, file_hash, provenance, read_json, write_json
from speechunits.units.bundle import encoder_path

Ranking = Literal["hours", "minutes"]
Row = dict[str, Any]

FITTED_HOURS = 1.0
"""Train speech that units and their predictor are fitted on, the same for all: figures come in minutes."""
BASELINE = "MFCC k-means"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One training of a comparison."""

    recipe: RecipeConfig
    ranking: Ranking
    """What all have alike: audio-hours seen, or minutes of one core (of the machine, where there is a GPU)."""

    @property
    def key(self) -> str:
        """Key of all that decides the encoder, the recordings' contents excepted."""
        corpus, pretrain = self.recipe.corpus, self.recipe.pretrain
        heard = [corpus.manifest, *([corpus.phones] if pretrain.needs_phones and corpus.phones else [])]
        return content_key(_deciding(pretrain), *map(file_hash, heard))

    @property
    def measured(self) -> str:
        """Key of how its encoder is measured: figures of another one are measured again, the training is kept."""
        return _measured(self.recipe)

    @property
    def folder(self) -> RunFolder:
        """Run folder: another one for any other setting, so that nothing is mixed and everything can be resumed."""
        name = f"{self.recipe.name}-seed{self.recipe.pretrain.seed}-{self.key[:8]}"
        return RunFolder(self.recipe.runs / "comparison" / name)


def compare(
    recipes: Sequence[RecipeConfig],
    *,
    seeds: int,
    minutes: float | None = None,
    minutes_seeds: int | None = None,
    published: Sequence[Row] = (),
    on_row: Callable[[Row], None] | None = None,
) -> Row:
    """Train and measure all recipes and return their rows, the MFCC baseline's first; see ``report/comparison.py``.

    A collapsed training is a row like others, named; one that is stopped by anything else (a full disk, values that are
    not finite) stops the comparison, and the same command goes on with it. ``minutes`` adds a second ranking: each
    recipe once more, with the audio-hours it trains on in so many minutes of one core, by the speed of its run of the
    first ranking, with the first ``minutes_seeds`` seeds (all). ``published`` are rows of an earlier comparison: those
    of the same settings and recordings are taken as they are, so that a comparison may be continued where its run
    folders are gone. ``on_row`` is called after every row with the results so far, published rows that are still to be
    reached among them.

    Raises
    ------
    UsageError
        If the recipes differ in corpus, units or budget: their figures could not be compared; if two have one name; or
        if rows are published that this comparison does not have.
    """
    _check_comparable(recipes)
    first = recipes[0]
    contenders = [
        Contender(recipe=replace(recipe, pretrain=replace(recipe.pretrain, seed=seed)), ranking="hours")
        for seed in range(seeds)
        for recipe in recipes
    ]
    again = contenders[: len(recipes) * (seeds if minutes_seeds is None else minutes_seeds)] if minutes else []
    known = {(row["key"], row["measured"]): row for row in published if "key" in row}
    _check_nothing_lost(published, contenders, again, minutes or 0.0)
    rows = [_baseline(first, known)]

    def add(contender: Contender, place: str) -> None:
        rows.append(_row(contender, place, known))
        if on_row is not None:
            done = {(row["key"], row["ranking"]) for row in rows}
            on_row(results([*rows, *(row for row in known.values() if (row["key"], row["ranking"]) not in done)]))

    def results(rows: Sequence[Row]) -> Row:
        return {
            "provenance": provenance(first.corpus, first.corpus.manifest), "seeds": seeds, "minutes": minutes,
            "fitted_hours": FITTED_HOURS, "rows": list(rows),
        }  # fmt: skip

    for number, contender in enumerate(contenders, start=1):
        add(contender, f"{number} of {len(contenders)}")
    for number, (contender, row) in enumerate(zip(again, rows[1:], strict=False), start=1):
        add(_timed(contender, row, minutes or 0.0), f"{number} of {len(again)}, equal minutes")
    return results(rows)


def _timed(contender: Contender, row: Row, minutes: float) -> Contender:
    """Return a contender with the audio-hours that it trains on in so many minutes, by the speed of its first row."""
    pretrain = contender.recipe.pretrain
    hours = max(0.001, round(row["audio_hours_per_hour"] * minutes / 60, 3))
    budget = replace(pretrain.budget, hours=hours)
    recipe = replace(contender.recipe, pretrain=replace(pretrain, budget=budget))
    return Contender(recipe=recipe, ranking="minutes")


def _check_comparable(recipes: Sequence[RecipeConfig]) -> None:
    first = recipes[0]
    if any((other.corpus, other.units) != (first.corpus, first.units) for other in recipes):
        raise UsageError("recipes that are compared must have the same corpus and units, but differ in one of them")
    if len(hours := {recipe.pretrain.budget.hours for recipe in recipes}) > 1:
        raise UsageError(
            f"recipes that are compared must have the same budget, but have {', '.join(f'{each:g}' for each in hours)} "
            "audio-hours; give one for all: pretrain.budget.hours=10"
        )
    names = Counter(recipe.name for recipe in recipes)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(
            f"recipes that are compared must have names of their own, but several are named {', '.join(twice)}: they "
            "would be taken for seeds of one; give each its own `name:`"
        )


def _check_nothing_lost(
    published: Sequence[Row], contenders: Sequence[Contender], again: Sequence[Contender], minutes: float
) -> None:
    """Raise UsageError where rows are published that would not be written again; their trainings took hours."""
    first = {row.get("key"): row for row in published if row["ranking"] == "hours"}
    timed = {_timed(each, row, minutes).key for each in again if (row := first.get(each.key))}
    keys = {"hours": {contender.key for contender in contenders}, "minutes": timed}
    lost = [row for row in published if row["ranking"] in keys and row.get("key") not in keys[row["ranking"]]]
    if lost:
        named = sorted({f"{row['name']}, seed {row['seed']}, by {row['ranking']}" for row in lost})
        raise UsageError(
            f"the comparison that is there already holds {len(lost)} trainings that this one has not ({named[0]}…): "
            "ask for the same recipes, budget, --seeds and --minutes or more, name another folder with -o, or remove "
            "its results.json"
        )


def _row(contender: Contender, place: str, known: Mapping[tuple[str, str], Row]) -> Row:
    """Return the row that is there already, or train and measure in a process of its own: memory is counted alone."""
    saved = contender.folder / "comparison.json"
    name = f"{contender.recipe.name}, seed {contender.recipe.pretrain.seed}"
    found = known.get(keys := (contender.key, contender.measured))
    if found is None:
        if not (saved.exists() and _is_current(read_json(saved), *keys)):
            print(f"── {name} ({place}): {contender.folder.path}", file=sys.stderr, flush=True)
            for _ in in_processes(run_contenders, [contender], 1, name="comparison"):
                pass
        found = read_json(saved)["row"]
    pretrain = contender.recipe.pretrain
    row: Row = {
        **found, "ranking": contender.ranking, "key": keys[0], "measured": keys[1],
        "encoder_hours": round(encoder_passes(pretrain, pretrain.encoder) * found["audio_hours"], 3),
    }  # fmt: skip
    score = (row["measures"] or {}).get("without_silence", {}).get("pnmi")
    said = [f"{row['bits']:.2f} of {row['chance_bits']:.2f} bits", "no units" if score is None else f"PNMI {score:.1%}"]
    print(f"{name}: " + "; ".join([*said, *([row["stopped"]] if row["stopped"] else [])]), file=sys.stderr, flush=True)
    return row


def run_contenders(todo: Iterable[Contender]) -> Iterator[str]:
    """Train and measure each contender, leave ``comparison.json`` in its folder, and yield its key."""
    for contender in todo:
        with contender.folder.lock():
            contender.folder.record("recipe", contender.recipe, contender.recipe.corpus.manifest)
            saved = contender.folder / "comparison.json"
            if saved.exists() and (before := read_json(saved))["key"] == contender.key:
                # Trained already, but measured by an earlier version of this program, or with other units.
                row = before["row"] | {"measures": _measures_of(contender)}
            else:
                row = _trained(contender)
            write_json(saved, {"key": contender.key, "measured": contender.measured, "row": row})
        yield contender.key


def _measured(recipe: RecipeConfig) -> str:
    corpus = recipe.corpus
    phones = file_hash(corpus.phones) if corpus.phones is not None else None
    return content_key(
        to_tree(recipe.units), FITTED_HOURS, HEARD_HOURS, asdict(QUICK), asdict(PROBES), corpus.dev, phones
    )


def _is_current(saved: Mapping[str, Any], key: str, measured: str) -> bool:
    return bool(saved["key"] == key and saved.get("measured") == measured)


def _trained(contender: Contender) -> Row:
    recipe, folder = contender.recipe, contender.folder / "pretrain"
    corpus = load_corpus(recipe.corpus)
    # Each pass has a history of its own.
    resumed, started, stopped = any(folder.rglob("metrics.jsonl")), time.process_time(), None
    try:
        pretrain_passes(recipe.pretrain, corpus, folder)
    except Collapsed as error:
        stopped = str(error)
    processor_s = time.process_time() - started
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        memory_mb = torch.cuda.max_memory_allocated() / 2**20
    report, hours, wall_s = _outcome(folder)
    # On one thread processor time is what the wall clock of an idle core would say; of a resumed training it is a part.
    alone = recipe.pretrain.engine.threads == 1 and not torch.cuda.is_available() and not resumed
    cost_s = processor_s if alone else wall_s
    return {
        "name": recipe.name, "learner": recipe.pretrain.learner, "seed": recipe.pretrain.seed, "stopped": stopped,
        "bits": report["bits"], "bound": BOUND_VERSION, "chance_bits": report["chance_bits"], "held_out": report,
        "audio_hours": hours,
        "wall_s": wall_s, "processor_s": processor_s if not resumed else None,
        "audio_hours_per_hour": hours / cost_s * 3600, "memory_mb": round(memory_mb),
        "measures": _measures_of(contender),
        "provenance": provenance(recipe, recipe.corpus.manifest),
    }  # fmt: skip


def _outcome(folder: Path) -> tuple[dict[str, float], float, float]:
    """Return the last held-out report, audio-hours and seconds over all passes, also of a training that was stopped."""
    hours, wall_s = 0.0, 0.0
    report: dict[str, Any] = {}
    for path in sorted(folder.rglob("metrics.jsonl"), key=lambda path: (path.parent == folder, path)):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        hours, wall_s = hours + rows[-1]["audio_hours"], wall_s + rows[-1]["wall_s"]
        report = next((row for row in reversed(rows) if row["kind"] != "train"), report)
    if not report:
        raise UsageError(f"{folder} has no held-out evaluation; engine.held_out_evaluations must be at least 1")
    return {name: value for name, value in report.items() if isinstance(value, int | float)}, hours, wall_s


def _measures_of(contender: Contender) -> dict[str, Any] | None:
    encoder = contender.folder / "pretrain" / "encoder.safetensors"
    return _measures(contender.recipe, encoder, contender.folder) if encoder.exists() else None


def _measures(recipe: RecipeConfig, encoder: Path | None, folder: RunFolder) -> dict[str, Any] | None:
    units = recipe.units if encoder is not None else replace(recipe.units, source="mfcc")
    corpus, bundle = _shortened(load_corpus(recipe.corpus)), folder / "units.safetensors"
    fit_units(encoder, corpus, units, bundle)
    if not corpus.phones:
        return None
    measures: dict[str, Any] = measure_units({"units": bundle}, corpus, recipe.corpus.dev)["units"]
    return measures | measure_representation(bundle, units.source, corpus, recipe.corpus.dev)


def _shortened(corpus: Corpus) -> Corpus:
    """Return the corpus with an hour of train, drawn with a fixed seed."""
    kept = set(drawn(corpus.split("train"), FITTED_HOURS))
    return replace(corpus, recordings=tuple(row for row in corpus.recordings if row.split != "train" or row in kept))


def _baseline(recipe: RecipeConfig, known: Mapping[tuple[str, str], Row]) -> Row:
    """Return the row of k-means on MFCC, with as many clusters."""
    units: UnitsConfig = recipe.units
    key, measured = content_key(to_tree(units), FITTED_HOURS, file_hash(recipe.corpus.manifest)), _measured(recipe)
    if (key, measured) in known:
        return known[key, measured]
    folder = RunFolder(recipe.runs / "comparison" / f"mfcc-{key[:8]}")
    saved = folder / "comparison.json"
    with folder.lock():
        if not (saved.exists() and _is_current(read_json(saved), key, measured)):
            measures = _measures(recipe, None, folder)
            write_json(saved, {"key": key, "measured": measured, "measures": measures})
    measures = read_json(saved)["measures"]
    return {"name": BASELINE, "ranking": None, "stopped": None, "measures": measures, "key": key, "measured": measured}


def _deciding(config: PretrainConfig) -> dict[str, Any]:
    """Return the settings that decide which weights come out, and when a collapse ends it; threads do not."""
    tree: dict[str, Any] = to_tree(config)
    tree["engine"] = {name: tree["engine"][name] for name in ("precision", "accumulate", "held_out_evaluations")}
    tree["batch"] = deciding_batch(config.batch)
    if config.start is not None:
        tree["start"] = file_hash(encoder_path(config.start))
    return tree
