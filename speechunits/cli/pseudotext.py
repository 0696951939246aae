"""Commands about units as text: ``pseudotext fit``, ``stats``, ``encode``, ``decode``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import MANIFEST_HELP, SPLIT_HELP, natural
from speechunits.cli.output import check_output, is_units
from speechunits.errors import InputRefused

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_MODEL_HELP = "the units bundle that the pseudo-text is of"


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    verbs = commands.add_parser("pseudotext", help="units as text, by sentencepiece").add_subparsers(required=True)
    fit = verbs.add_parser("fit", help="fit a model and store it in the units bundle")
    fit.add_argument("--model", type=Path, required=True, metavar="UNITS.safetensors", help=_MODEL_HELP)
    fit.add_argument("--manifest", type=Path, required=True, help=f"{MANIFEST_HELP}; train is fitted on")
    fit.add_argument("--pieces", type=int, default=500, help="the most there may be (default: 500)")
    fit.add_argument("--type", choices=("unigram", "bpe"), default="unigram", help="of the model (default: unigram)")
    fit.add_argument("-o", "--out", type=Path, help="bundle to write (default: the same)")
    fit.set_defaults(run=run_pseudotext_fit)
    stats = verbs.add_parser("stats", help="what the pseudo-text is like, and its word candidates with their places")
    stats.add_argument("--model", type=Path, required=True, metavar="UNITS.safetensors", help=_MODEL_HELP)
    stats.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    stats.add_argument("--split", default="dev", help=SPLIT_HELP)
    stats.add_argument("--phones", type=Path, help="phone alignment, to score boundaries against")
    stats.add_argument("--words", type=Path, help="word alignment, in the same columns (id, start, end, phone)")
    stats.add_argument("--steps", type=natural, default=400, help="of the recurrent language model; 0: n-gram only")
    stats.add_argument("-o", "--out", type=Path, metavar="DIR", help="pseudotext.json, pseudotext.md, TextGrids")
    stats.set_defaults(run=run_pseudotext_stats)
    for name, text in (
        ("encode", "lines of units into lines of pieces"),
        ("decode", "lines of pieces into lines of units"),
    ):
        verb = verbs.add_parser(name, help=f"{text}, standard input to standard output")
        verb.add_argument("--model", type=Path, required=True, metavar="UNITS.safetensors", help=_MODEL_HELP)
        verb.set_defaults(run=run_pseudotext, verb=name)


def run_pseudotext_fit(options: argparse.Namespace) -> int:
    """Fit a sentencepiece model over units."""
    from speechunits import fitting
    from speechunits.audio.corpus import corpus_of
    from speechunits.config import PseudotextConfig, build_config

    tree = {"pieces": options.pieces, "model": options.type}
    config = build_config(PseudotextConfig, tree, origin="pseudotext fit")
    check_output(options.out or options.model, inputs=[options.manifest], is_result=is_units)
    corpus = corpus_of(options.manifest)
    fitting.fit_pseudotext(options.model, corpus, config, options.out or options.model)
    return 1 if corpus.refused else 0


def run_pseudotext_stats(options: argparse.Namespace) -> int:
    """Describe the pseudo-text of a split."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.audio.phones import read_phones
    from speechunits.evaluation.statistics import pseudotext_statistics
    from speechunits.report.statistics import statistics_markdown
    from speechunits.run import path_inside, write_json, write_text
    from speechunits.units.textgrid import to_textgrid
    from speechunits.units.units import Units

    words = read_phones(options.words) if options.words is not None else None
    corpus = corpus_of(options.manifest, options.phones)
    found = pseudotext_statistics(options.model, corpus, options.split, words=words, steps=options.steps)
    text = statistics_markdown(found.figures)
    if options.out is not None:
        write_json(options.out / "pseudotext.json", found.figures)
        write_text(options.out / "pseudotext.md", text)
        model = Units.load(options.model).pseudotext
        for row in found.transcripts:
            try:
                path = path_inside(options.out / "textgrid", f"{row.id}.TextGrid")
                write_text(path, to_textgrid(row, pseudotext=model, candidates=found.words))
            except InputRefused as error:
                corpus.refuse(row.id, str(error))
    print(text)
    return 1 if corpus.refused else 0


def run_pseudotext(options: argparse.Namespace) -> int:
    """Encode or decode lines."""
    from speechunits.units.formats import from_text
    from speechunits.units.units import Units

    model = Units.load(options.model).pseudotext
    for line in sys.stdin:
        print(*(model.encode(from_text(line)) if options.verb == "encode" else model.decode(line.split())))
    return 0
