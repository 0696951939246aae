"""What a run folder holds, read as far as it is there; what is absent is named with the command that makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from speechunits.audio.corpus import Corpus, load_corpus, with_phones_as_text
from speechunits.config import CorpusConfig, ReductionConfig, build_config
from speechunits.errors import SpeechUnitsError, UsageError
from speechunits.evaluation.score import rate_name
from speechunits.report.tables import SIDES
from speechunits.run import read_json
from speechunits.units.bundle import read_header

EVALUATIONS = ("evaluation/*.json", "abx*.json", "probe*.json")
"""Files of a run folder that hold further measurements (ABX, probes): JSON, measures by name."""
_SIGNS = ("recipe.yaml", "results.json", "units.safetensors", "pretrain", "cells")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A part of the page that cannot be shown."""

    what: str
    why: str
    """With the remedy."""
    given: bool = False
    """Whether a file was asked for by its name: it is refused, where others are only not there yet."""


@dataclass(kw_only=True)
class RunFiles:
    """The parts of a run that were found."""

    path: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    """``recipe.yaml``: the configuration under ``config``, and what made the run."""
    results: dict[str, Any] | None = None
    """``results.json`` of the sweep."""
    passes: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    """Name and ``metrics.jsonl`` of each pretraining pass, in order."""
    quality: dict[str, Any] = field(default_factory=dict)
    """Measures of units bundles by name."""
    evaluations: list[tuple[str, Any]] = field(default_factory=list)
    """Name and content of further measurements."""
    hypotheses: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Title and hypotheses by recording id, the pretrained side first."""
    corpus: Corpus | None = None
    units: Path | None = None
    absent: list[Absent] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        """The recipe."""
        found = self.recipe.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def split(self) -> str:
        """The split that is reported."""
        return str(self.config.get("corpus", {}).get("dev", "dev"))

    @property
    def finetuning(self) -> dict[str, Any]:
        """The recipe's settings of the pretrained side."""
        return dict(self.config.get("reduction", {}).get("finetune", {}))

    @property
    def spaced(self) -> bool:
        """Phones are recognised, not characters: texts are theirs, parted by spaces."""
        return bool(self.finetuning.get("tokens") == "phones")

    @property
    def rate(self) -> str:
        """What error rates are called."""
        return rate_name(self.finetuning.get("tokens", ""))

    @property
    def reduction(self) -> ReductionConfig:
        """What the factor's mathematics need of the recipe; later versions may know other settings of trainings."""
        tree = self.config.get("reduction", {})
        known = ("minutes", "baseline_minutes", "all_labels", "headline_minutes", "seeds", "bootstrap")
        return build_config(ReductionConfig, {name: tree[name] for name in known if name in tree})

    def attempt(self, what: str, remedy: str, read: Callable[[], T], *, given: bool = False) -> T | None:
        """Return what ``read`` returns; None, and a note of what is absent, where it cannot."""
        try:
            return read()
        except FileNotFoundError:
            why = remedy
        except SpeechUnitsError as error:
            why = str(error)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            why = f"its file cannot be read ({error}); {remedy}"
        self.absent.append(Absent(what=what, why=why, given=given))
        return None


def read_run(
    path: Path,
    *,
    manifest: Path | None = None,
    phones: Path | None = None,
    units: Path | None = None,
    also: Sequence[Path] = (),
) -> RunFiles:
    """Read a run folder. ``manifest``, ``phones`` and ``units`` replace its own, ``also`` are more measurements.

    Raises
    ------
    UsageError
        If ``path`` is no run folder.
    """
    if not any((path / name).exists() for name in _SIGNS):
        state = "holds none of " + ", ".join(_SIGNS) if path.is_dir() else "is not there"
        raise UsageError(f"{path} must be a run folder, but {state}; name a folder that `speechunits run` has written")
    run = RunFiles(path=path)
    run.recipe = run.attempt("the recipe", _again("data"), lambda: _recipe(path / "recipe.yaml")) or {}
    run.results = run.attempt("error rates and the reduction factor", _again("reduction"), lambda: _results(run))
    run.passes = run.attempt("learning curves", _again("pretrain"), lambda: _passes(path / "pretrain")) or []
    remedy = f"{_again('units')}; phones must be known"
    quality = run.attempt("agreement of units and phones", remedy, lambda: _mapping(path / "units.json"))
    run.quality = (quality or {}).get("measures", quality or {})
    listed = sorted({file for pattern in EVALUATIONS for file in path.glob(pattern)})
    for file in [*listed, *also]:
        given = file in also
        remedy = "name a file that `speechunits evaluate` wrote with -o" if given else "measure again"
        content = run.attempt(f"the measurements of {file.name}", remedy, partial(read_json, file), given=given)
        run.evaluations += [(file.stem, content)] if content is not None else []
    if not run.evaluations:
        run.absent.append(Absent(what="ABX and probes", why=f"no {' or '.join(EVALUATIONS)} here: not measured"))
    run.hypotheses = run.attempt("hypotheses", _again("reduction"), lambda: _hypotheses(run)) or []
    run.units = run.attempt("units", _again("units"), lambda: _units(path, units), given=units is not None)
    given = manifest is not None or phones is not None
    run.corpus = run.attempt("recordings", "give --manifest", lambda: _corpus(run, manifest, phones), given=given)
    return run


def _again(stage: str) -> str:
    return f"run `speechunits run RECIPE.yaml --only {stage}` first"


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(path)
    return path


def _units(folder: Path, given: Path | None) -> Path:
    if given is None:
        return _existing(folder / "units.safetensors")
    # What was named is checked even where there are no recordings to show its units of.
    read_header(given, "units")
    return given


def _mapping(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold an object, but holds a {type(found).__name__} instead")
    return found


def _results(run: RunFiles) -> dict[str, Any]:
    """Return ``results.json``, of a sweep that is not finished what there is so far, or single trainings' scores."""
    file, early = run.path / "results.json", run.path / "unfinished.json"
    if file.exists():
        return _mapping(file)
    if early.exists():
        saved = _mapping(early)
        left = f"{saved['unfinished']} trainings are still to come; {_again('reduction')}"
        run.absent.append(Absent(what="the whole sweep", why=left))
        return saved
    trained = _single_trainings(run.path / "cells")
    if not trained:
        raise FileNotFoundError(file)
    run.absent.append(Absent(what="the whole sweep", why=f"{len(trained)} trainings so far; {_again('reduction')}"))
    scores = [score for cell in trained.values() for score in cell["scores"]]
    return {"scores": scores, "keys": {name: cell["key"] for name, cell in trained.items()}}


def _single_trainings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the latest training of each name: with other settings there may be more."""
    files = [path for path in folder.glob("*.json") if (folder / path.stem).is_dir()]
    return {
        path.stem.rpartition("-")[0]: _mapping(path)
        for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))
    }  # fmt: skip


def _recipe(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold a mapping, but holds a {type(found).__name__} instead")
    return found


def _passes(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    earlier = sorted(folder.glob("pass*/metrics.jsonl"), key=lambda path: (len(path.parent.name), path.parent.name))
    files = [*earlier, _existing(folder / "metrics.jsonl")]
    return [(f"pass {number}" if earlier else "", _lines(path)) for number, path in enumerate(files, start=1)]


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the last line of a run that is still being written
    return [row for row in rows if isinstance(row, dict)]


def _hypotheses(run: RunFiles) -> list[tuple[str, dict[str, str]]]:
    """Return hypotheses of the first seed at the headline budget, or of a side's single training; pretrained first."""
    keys = (run.results or {}).get("keys", {})
    found = []
    for side, title in SIDES.items():
        trained = [name for name in keys if name.startswith(f"{side}-")]
        headline = f"{side}-{run.reduction.headline_minutes:g}-0"
        name = headline if headline in trained or not trained else trained[-1]
        file = run.path / "cells" / f"{name}-{keys.get(name, '')[:8]}" / f"{run.split}.json"
        if file.exists():
            budget = name.split("-")[1]
            labels = "all labels" if budget == "all" else f"{budget} min of labels"
            found.append((f"{title}, {labels}", {key: str(text) for key, text in _mapping(file).items()}))
    if not found:
        raise FileNotFoundError
    return found


def _corpus(run: RunFiles, manifest: Path | None, phones: Path | None) -> Corpus:
    tree = run.config.get("corpus", {})
    place = manifest or _first([tree.get("manifest"), run.path / "corpus" / "manifest.tsv"])
    spoken = phones or _first([tree.get("phones"), place.parent / "phones.tsv" if place else None])
    if place is None:
        raise UsageError(
            f"the manifest ({tree.get('manifest', 'not named')}) is not there; give --manifest MANIFEST.tsv"
        )
    corpus = load_corpus(
        CorpusConfig(manifest=place, phones=spoken, dev=run.split, strip_marks=bool(tree.get("strip_marks", False)))
    )
    return with_phones_as_text(corpus) if run.spaced else corpus


def _first(places: Iterable[str | Path | None]) -> Path | None:
    return next((Path(place) for place in places if place is not None and Path(place).exists()), None)
