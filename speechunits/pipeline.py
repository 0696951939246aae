"""The stages in order, one function each: read this first.

    data → pretrain → units → pseudotext → transcribe → finetune → reduction → report → summary

Each reads what the stages before left in the run folder, and keeps what it finds done by the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from speechunits import sweep
from speechunits.audio.corpus import Corpus, load_corpus, readable
from speechunits.audio.manifest import write_manifest
from speechunits.audio.synthetic import synthesise
from speechunits.cell import Cell, cells, further, needed, summarised
from speechunits.compute import extra_hours
from speechunits.config import EncoderConfig, RecipeConfig, build_config
from speechunits.errors import UsageError
from speechunits.estimate import estimated_minutes
from speechunits.evaluation.score import Side, rate_name, scores_from_json
from speechunits.fitting import fit_pseudotext, fit_units
from speechunits.hardware import cpu_computes_bf16
from speechunits.pretraining import pretrain_passes
from speechunits.progress import progress
from speechunits.quality import aligned_example, measure_units
from speechunits.report.tables import quality_markdown
from speechunits.rescoring import add_language_rows
from speechunits.results import SweepResults, show_reduction
from speechunits.run import RunFolder, content_key, file_hash, is_first_rank, rank_and_size, read_json, write_json
from speechunits.setting import Setting, check_equal_hours
from speechunits.tuning import tune
from speechunits.units.bundle import encoder_bundle
from speechunits.units.units import Units


class Experiment:
    """A recipe, its run folder and its corpus."""

    def __init__(self, recipe: RecipeConfig) -> None:
        self.recipe = recipe
        self.folder = RunFolder(recipe.runs / recipe.name)
        self.encoder = self.folder / "pretrain" / "encoder.safetensors"
        self.units = self.folder / "units.safetensors"
        self.mfcc_units = self.folder / "mfcc.safetensors"
        self.quality = self.folder / "units.json"
        self.recognizer = self.folder / "asr.safetensors"
        self.results = self.folder / "results.json"
        self.refused: list[str] = []
        """What a stage could not use, each named as it was met; the rest was done."""

    @cached_property
    def corpus(self) -> Corpus:
        """The recipe's corpus, with its splits."""
        corpus = load_corpus(self.recipe.corpus)
        self.refused += corpus.refused
        return replace(corpus, refused=self.refused)

    @cached_property
    def readable(self) -> Corpus:
        """The corpus without what cannot be recognised: that is found out before a training, not after it."""
        return readable(self.corpus, (self.recipe.corpus.dev, "tune"))

    def record(self) -> None:
        """Write ``recipe.yaml``: the recipe, the commit and, once there is one, the manifest's hash."""
        manifest = self.recipe.corpus.manifest
        self.folder.record("recipe", self.recipe, manifest if manifest.exists() else None)

    def need(self, path: Path, stage: str) -> Path:
        """Return ``path``, which an earlier stage makes. Raises UsageError where it is missing."""
        if not path.exists():
            raise UsageError(f"{path} does not exist yet; run `speechunits run RECIPE.yaml --only {stage}` first")
        return path

    @cached_property
    def setting(self) -> Setting:
        """What the trainings behind the reduction factor share."""
        config = self.recipe.reduction
        encoder = (
            self.need(self.encoder, "pretrain")
            if config.encoder is None
            else encoder_bundle(config.encoder, self.folder / "given", allow_pickle=config.allow_pickle)
        )
        more = extra_hours(encoder, encoder.with_name("pretrain.json")) if config.equal_compute_seeds else {}
        return replace(self.setting_without_encoder(read_units=config.read_units), encoder=encoder, extra_hours=more)

    def setting_without_encoder(self, *, read_units: bool) -> Setting:
        """Return what trainings share that begin with none of the pretrained weights."""
        return Setting(
            corpus=self.readable, config=self.recipe.reduction, encoder=None, architecture=self.recipe.pretrain.encoder,
            folder=self.folder / "cells", dev=self.recipe.corpus.dev,
            units=self.need(self.units, "units") if read_units else None,
        )  # fmt: skip

    def setting_after(self, published: Sequence[Mapping[str, Any]]) -> Setting:
        """Return what trainings share that go on from published ones, also where their encoder is gone."""
        # Results of an earlier version name none.
        known = next((saved["encoder"] for saved in published if "encoder" in saved), None)
        if known is None or self.recipe.reduction.encoder is not None or self.encoder.exists():
            return replace(self.setting, published=published)
        print(f"{self.encoder} is gone: trainings that begin with it are those that are published", file=sys.stderr)
        without = self.setting_without_encoder(read_units=self.recipe.reduction.read_units)
        shape = build_config(EncoderConfig, known["config"], origin="the encoder of published results")
        return replace(
            without, encoder_hash=known["hash"], architecture=shape, extra_hours=known["extra_hours"],
            published=published,
        )  # fmt: skip

    def setting_for(self, side: Side) -> Setting:
        """Return what the trainings of a side share: only what it reads must be there."""
        there = self.recipe.reduction.encoder is not None or self.encoder.exists()
        if side == "pretrained" or (side == "untrained" and there):
            return self.setting
        return self.setting_without_encoder(read_units=side == "units")


def data(experiment: Experiment) -> None:
    """Synthesise the recipe's corpus, or check that it is where the recipe says."""
    recipe = experiment.recipe
    if recipe.synth is not None:
        with progress("synthesis", 1.0) as advance:
            report = synthesise(recipe.corpus.manifest.parent, recipe.synth, on_progress=advance)
        print(f"synthetic corpus: {report.utterances} utterances of {report.speakers} speakers, "
              f"{'made' if report.made else 'already there'}", file=sys.stderr)  # fmt: skip
        experiment.record()
    splits = {name: sum(row.duration_s for row in experiment.corpus.recordings if row.split == name) / 60
              for name in sorted({row.split or "" for row in experiment.corpus.recordings})}  # fmt: skip
    print("minutes: " + ", ".join(f"{name} {minutes:.1f}" for name, minutes in splits.items()), file=sys.stderr)


def pretrain(experiment: Experiment) -> None:
    """Pretrain the encoder on all of train, without its texts; held-out figures read ``tune``."""
    pretrain_passes(experiment.recipe.pretrain, experiment.corpus, experiment.folder / "pretrain")
    if is_first_rank():
        print(f"{experiment.encoder}: the encoder", file=sys.stderr)


def units(experiment: Experiment) -> None:
    """Fit units on the encoder, and the baseline on MFCC, and score both where phones are known."""
    recipe, corpus = experiment.recipe, experiment.corpus
    baseline = replace(recipe.units, source="mfcc", clusters=recipe.units.clusters or 100)
    fit_units(experiment.need(experiment.encoder, "pretrain"), corpus, recipe.units, experiment.units)
    fit_units(None, corpus, baseline, experiment.mfcc_units)
    if recipe.corpus.phones is not None and corpus.phones:
        bundles = {"units": experiment.units, "MFCC k-means": experiment.mfcc_units}
        heard = file_hash(corpus.manifest), file_hash(recipe.corpus.phones), recipe.corpus.dev
        key = content_key([Units.load(path).key for path in bundles.values()], *heard)
        saved = read_json(experiment.quality) if experiment.quality.exists() else {}
        if saved.get("key") != key:
            saved = {"key": key, "measures": measure_units(bundles, corpus, recipe.corpus.dev)}
            write_json(experiment.quality, saved)
        print(quality_markdown(saved["measures"]))


def pseudotext(experiment: Experiment) -> None:
    """Fit the sentencepiece model over units and store it in the bundle."""
    bundle = experiment.need(experiment.units, "units")
    fit_pseudotext(bundle, experiment.corpus, experiment.recipe.pseudotext, bundle)


def transcribe(experiment: Experiment) -> None:
    """Write the units of the dev recordings, one file each, as text, JSONL and TextGrid."""
    from speechunits.units.transcribe import transcribe as write_units  # noqa: PLC0415

    manifest = experiment.folder / "dev.tsv"
    write_manifest(manifest, experiment.corpus.split(experiment.recipe.corpus.dev))
    bundle = experiment.need(experiment.units, "units")
    for form in ("text", "jsonl", "textgrid"):
        out = experiment.folder / "transcripts" / form
        report = write_units([manifest], bundle, form=form, out=out, overwrite=True)
        print(f"{out}: {len(report.done)} transcripts, {len(report.refused)} refused", file=sys.stderr)
        experiment.refused += [name for name, _ in report.refused]


def finetune(experiment: Experiment) -> None:
    """Fine-tune the recogniser of the headline cell, as the sweep chooses to, and keep its bundle."""
    cell = Cell(side="pretrained", minutes=experiment.recipe.reduction.headline_minutes, seed=0)
    *_, (setting, _) = tune(experiment.setting, only=cell)
    _finetune(experiment, cell, setting)


def finetune_cell(experiment: Experiment, side: Side, minutes: float | None, seed: int) -> None:
    """Fine-tune one recogniser with the recipe's own settings and write its bundle to ``asr.safetensors``."""
    setting = replace(experiment.setting_for(side), unscored=True)
    _finetune(experiment, Cell(side=side, minutes=minutes, seed=seed), setting)


def _finetune(experiment: Experiment, cell: Cell, setting: Setting) -> None:
    place = experiment.recognizer
    before = file_hash(place) if place.exists() else None
    scores = sweep.run_cell(cell, setting, keep=place)
    if is_first_rank():
        print(f"{summarised(cell, scores, setting.config)}\n{place}: the recogniser", file=sys.stderr)
        if before is not None and file_hash(place) != before:
            print(f"the one that was there before is replaced; {setting.folder} keeps its scores, not its weights: its "
                  "own command trains it again, to be copied elsewhere", file=sys.stderr)  # fmt: skip


def reduction(experiment: Experiment) -> None:
    """Train every cell of the sweep that is not there yet; write results.json, the table and the curve.

    Until all are there ``unfinished.json`` holds those that are, for an early look. Where the run folder is gone, cells
    of either file in ``results/NAME`` are gone on from.
    """
    recipe = experiment.recipe
    labelled_s = sum(row.duration_s for row in experiment.corpus.split("train") if row.text)
    todo = cells(recipe.reduction, labelled_s / 60)
    check_equal_hours(recipe.reduction, todo)
    places = [Path("results") / recipe.name / name for name in ("unfinished.json", "results.json")]
    setting = experiment.setting_after([read_json(path) for path in places if path.exists()])
    results = SweepResults(
        recipe=recipe, todo=todo, path=experiment.folder / "unfinished.json", encoder=sweep.encoder_of(setting)
    )
    for tuned, tried in tune(setting):
        results.tuned(tuned, tried)
    later = [cell for cell in todo if cell.compute or further(cell, recipe.reduction)]
    results.fill([cell for cell in todo if cell not in later], tuned)
    results.todo = todo = needed(todo, results.listed(), recipe.reduction)
    results.fill([cell for cell in todo if cell in later], tuned)
    saved = results.tree()
    write_json(experiment.results, saved)
    results.path.unlink(missing_ok=True)
    if recipe.reduction.language.rows:
        add_language_rows(saved, todo, tuned, recipe.synth)
        write_json(experiment.results, saved)
    show_reduction(experiment.results, recipe, experiment.folder.path)


def report(experiment: Experiment) -> None:
    """Write ``report.html``: the run as one page to mail, as far as its stages have come."""
    from speechunits.report.page.write import write_page  # noqa: PLC0415

    corpus = experiment.recipe.corpus
    page = write_page(
        experiment.folder.path, experiment.folder / "report.html", manifest=corpus.manifest, phones=corpus.phones
    )
    print(f"{page.path}: {page.bytes / 1e6:.1f} MB, {page.recordings} recordings to hear", file=sys.stderr)


def summary(experiment: Experiment) -> None:
    """Show what a newcomer wants to see: a sentence and its units, their quality, the error rates, the factor."""
    from speechunits.evaluation.reduction import reduction as compute  # noqa: PLC0415
    from speechunits.report.screen import summary_screen  # noqa: PLC0415

    recipe = experiment.recipe
    scores = scores_from_json(read_json(experiment.need(experiment.results, "reduction"))["scores"])
    screen = summary_screen(
        example=aligned_example(experiment.units, experiment.corpus, recipe.corpus.dev),
        quality=read_json(experiment.quality)["measures"] if experiment.quality.exists() else None,
        reduction=compute(scores, recipe.reduction, split=recipe.corpus.dev, smoke=recipe.smoke),
        rate=rate_name(recipe.reduction.finetune.tokens), folder=experiment.folder.path,
    )  # fmt: skip
    Console().print(screen)


STAGES = {
    "data": data, "pretrain": pretrain, "units": units, "pseudotext": pseudotext, "transcribe": transcribe,
    "finetune": finetune, "reduction": reduction, "report": report, "summary": summary,
}  # fmt: skip


def run(recipe: RecipeConfig, stages: Sequence[str] = tuple(STAGES)) -> list[str]:
    """Run stages of a recipe in turn, holding its run folder; return the names of what had to be refused.

    Several ranks pretrain together; the first of them has the run folder, and returns the names.

    Raises
    ------
    UsageError
        If other stages are asked of several ranks.
    """
    rank, size = rank_and_size()
    if size > 1 and tuple(stages) != ("pretrain",):
        raise UsageError(
            f"{size} ranks can only pretrain or fine-tune together, but were asked for {', '.join(stages)}: start "
            "`speechunits pretrain` or `speechunits finetune` on them, and the other stages in one process"
        )
    experiment = Experiment(recipe)
    with experiment.folder.lock():
        experiment.record()
        if len(stages) == len(STAGES) and not experiment.results.exists():
            print(f"about {estimated_minutes(recipe):.0f} min of training on this machine "
                  f"({'with' if cpu_computes_bf16() else 'without'} bf16 arithmetic)", file=sys.stderr)  # fmt: skip
        for stage in stages:
            if rank == 0:
                print(f"── {stage}", file=sys.stderr)
            STAGES[stage](experiment)
    # A rank that ended with the exit code of a refusal would end the others, and the first may still have to write.
    return experiment.refused if rank == 0 else []
