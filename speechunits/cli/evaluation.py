"""Commands that measure: ``evaluate units``, ``evaluate asr``; each further kind of measure adds itself to ``add``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.errors import UsageError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the group ``evaluate``."""
    kinds = commands.add_parser("evaluate", help="measure units, layers, or a recogniser").add_subparsers(
        title="measures", metavar="MEASURE", required=True
    )
    _add_units(kinds)
    _add_asr(kinds)


def _add_units(kinds: Commands) -> None:
    units = kinds.add_parser("units", help="PNMI, purity, information, boundaries, rates; bundles side by side")
    units.add_argument("bundles", nargs="+", metavar="[NAME=]UNITS.safetensors", help="NAME stands in the table")
    units.add_argument("--manifest", type=Path, required=True)
    units.add_argument("--phones", type=Path, required=True, help="phone alignment: id, start, end, phone")
    units.add_argument("--split", default="dev")
    units.add_argument("-o", "--out", type=Path, metavar="DIR", help="units.json, units.md, a heat map a bundle")
    units.set_defaults(run=run_units)


def _add_asr(kinds: Commands) -> None:
    asr = kinds.add_parser("asr", help="character and word error rate of a recogniser")
    asr.add_argument("model", type=Path, metavar="ASR.safetensors")
    asr.add_argument("--manifest", type=Path, required=True)
    asr.add_argument("--split", default="dev")
    asr.set_defaults(run=run_asr)


def run_units(options: argparse.Namespace) -> int:
    """Measure units bundles side by side, beside MFCC units of the same K."""
    from speechunits.pipeline import corpus_of
    from speechunits.quality import evaluate_units

    named = [text.rpartition("=") for text in options.bundles]
    bundles = {name or path: Path(path) for name, _, path in named}
    if len(bundles) < len(named):
        raise UsageError("bundles must have different names, but two have the same; write NAME=UNITS.safetensors")
    corpus = corpus_of(options.manifest, options.phones)
    print(evaluate_units(bundles, corpus, options.split, options.out))
    return 0


def run_asr(options: argparse.Namespace) -> int:
    """Measure a recogniser."""
    from speechunits.evaluation.recognition import evaluate_recognizer
    from speechunits.pipeline import corpus_of

    rates = evaluate_recognizer(options.model, corpus_of(options.manifest).split(options.split))
    print(f"{options.split}, {rates.recordings} recordings: CER {100 * rates.cer:.2f} %, WER {100 * rates.wer:.2f} %")
    if rates.all_blank:
        print("all-blank: nothing at all was recognised; fine-tune longer, or on more labels", file=sys.stderr)
    return 0
