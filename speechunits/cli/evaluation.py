"""Commands that measure: ``evaluate units``, ``layers``, ``asr``; each further kind adds itself to ``add``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli import discrimination
from speechunits.cli.naming import MANIFEST_HELP, SPLIT_HELP, named, results_path

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the group ``evaluate``."""
    kinds = commands.add_parser("evaluate", help="measure units, layers, or a recogniser").add_subparsers(
        title="measures", metavar="MEASURE", required=True
    )
    _add_units(kinds)
    _add_layers(kinds)
    _add_asr(kinds)
    discrimination.add(kinds)


def _add_units(kinds: Commands) -> None:
    units = kinds.add_parser("units", help="PNMI, purity, information, boundaries, rates; bundles side by side")
    units.add_argument("bundles", nargs="+", metavar="[NAME=]UNITS.safetensors", help="NAME stands in the table")
    units.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    units.add_argument("--phones", type=Path, required=True, help="phone alignment: id, start, end, phone")
    units.add_argument("--split", default="dev", help=SPLIT_HELP)
    units.add_argument("-o", "--out", type=Path, metavar="DIR", help="units.json, units.md, a heat map a bundle")
    units.set_defaults(run=run_units)


def _add_layers(kinds: Commands) -> None:
    layers = kinds.add_parser("layers", help="what choosing a layer without labels costs, criterion by criterion")
    layers.add_argument(
        "encoders", nargs="+", metavar="[NAME=]RUN|ENCODER.safetensors",
        help="run folders or encoder bundles; NAME stands in the table",
    )  # fmt: skip
    layers.add_argument(
        "--corpus", nargs=3, action="append", required=True, metavar=("NAME", "MANIFEST", "PHONES"),
        help="a corpus to measure on: its name in the table, manifest, phone alignment; may be given again",
    )  # fmt: skip
    layers.add_argument("--clusters", nargs="+", type=int, default=[100], metavar="K", help="of k-means (default: 100)")
    layers.add_argument("--sample-frames", type=int, default=50_000, help="of train, for k-means and the predictor")
    layers.add_argument("--split", default="dev", help="that judges")
    layers.add_argument(
        "-o", "--out", type=results_path, required=True, metavar="RESULTS.json", help="kept after every row"
    )
    layers.set_defaults(run=run_layers)


def _add_asr(kinds: Commands) -> None:
    asr = kinds.add_parser("asr", help="character and word error rate of a recogniser")
    asr.add_argument("model", type=Path, metavar="ASR.safetensors", help="the recogniser's bundle")
    asr.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    asr.add_argument("--phones", type=Path, help="for a recogniser of phones: id, start, end, phone")
    asr.add_argument("--strip-marks", action="store_true", help="from references, like corpus.strip_marks of a recipe")
    asr.add_argument("--split", default="dev", help=SPLIT_HELP)
    asr.set_defaults(run=run_asr)


def run_units(options: argparse.Namespace) -> int:
    """Measure units bundles side by side, beside MFCC units of the same K."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.quality import evaluate_units

    bundles = {name: Path(path) for name, path in named(options.bundles).items()}
    corpus = corpus_of(options.manifest, options.phones)
    print(evaluate_units(bundles, corpus, options.split, options.out))
    return 1 if corpus.refused else 0


def run_layers(options: argparse.Namespace) -> int:
    """Measure every layer of encoders, and what each criterion's choice among them costs."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.evaluation.survey import survey
    from speechunits.report.regret import regret_markdown
    from speechunits.run import write_text
    from speechunits.units.bundle import encoder_path

    encoders = {name: encoder_path(Path(path)) for name, path in named(options.encoders).items()}
    corpora = {name: corpus_of(Path(manifest), Path(phones)) for name, manifest, phones in options.corpus}
    rows = survey(
        encoders, corpora, options.clusters, options.out, split=options.split, sample_frames=options.sample_frames
    )
    text = regret_markdown(rows)
    write_text(options.out.with_suffix(".md"), text)
    print(text)
    return 1 if any(corpus.refused for corpus in corpora.values()) else 0


def run_asr(options: argparse.Namespace) -> int:
    """Measure a recogniser."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.evaluation.recognition import evaluate_recognizer

    corpus = corpus_of(options.manifest, options.phones, strip_marks=options.strip_marks)
    rates = evaluate_recognizer(options.model, corpus, options.split)
    words = f"WER {100 * rates.wer:.2f} %"
    shown = f"PER {100 * rates.wer:.2f} %" if rates.cer is None else f"CER {100 * rates.cer:.2f} %, {words}"
    print(f"{options.split}, {rates.recordings} recordings: {shown}")
    if rates.unknown:
        named = ", ".join(f"{part!r} (U+{ord(part):04X})" if len(part) == 1 else repr(part)
                          for part, _ in rates.unknown.most_common(10))  # fmt: skip
        print(f"{rates.unknown.total()} times the references hold what this recogniser cannot write: {named}; if it "
              "was trained without marks, give --strip-marks", file=sys.stderr)  # fmt: skip
    if rates.all_blank:
        print("all-blank: nothing at all was recognised; fine-tune longer, or on more labels", file=sys.stderr)
    return 1 if corpus.refused else 0
