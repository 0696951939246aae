"""Commands that measure what is in layers: ``evaluate abx`` and ``evaluate probe``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechunits.cli.naming import MANIFEST_HELP, SPLIT_HELP, named, natural, positive, results_path
from speechunits.cli.output import check_output, has_suffix

if TYPE_CHECKING:
    from speechunits.evaluation.sources import Source

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SOURCE_HELP = "`mfcc`, `logmel`, run, encoder or units bundle, Hugging Face folder or hub name; NAME is for the table"
DISTANCES = ("angular", "cosine", "euclidean", "kl", "edit")
"""``edit``, of units, and those of ``evaluation.abx.dtw``, which is too heavy for a parser."""


def add(kinds: Commands) -> None:
    """Add both measures to the group ``evaluate``."""
    abx = kinds.add_parser("abx", help="ABX error of layers, or of units, within and across speakers")
    _add_common(abx)
    where = abx.add_mutually_exclusive_group(required=True)
    where.add_argument("--items", type=Path, help="ZeroSpeech item file")
    where.add_argument("--phones", type=Path, help="phone alignment, made into items")
    abx.add_argument("--span", choices=("triphone", "phoneme"), default="triphone", help="items made from --phones")
    abx.add_argument(
        "--context", choices=("within", "any"), help="compare within equal neighbours (default for triphones), or any"
    )
    abx.add_argument(
        "--speaker", choices=("within", "across", "both"), default="both",
        help="X of the speaker of A and B, of another one, or both in turn (default)",
    )  # fmt: skip
    abx.add_argument(
        "--distance", choices=DISTANCES, default="angular",
        help="of frames, averaged over the warped path (kl: of their softmax); `edit`: of the merged units of bundles",
    )  # fmt: skip
    abx.add_argument(
        "--max-group", type=positive, metavar="N", help="items of a phone and speaker, drawn (default: all)"
    )
    abx.add_argument(
        "--max-other-speakers", type=natural, default=5, metavar="N", help="speakers of X (default 5; 0: all)"
    )
    abx.add_argument("--seed", type=natural, default=0, help="of what is drawn: items, speakers of X (default: 0)")
    abx.add_argument(
        "--drop-last-frame",
        action="store_true",
        help="as tools with the Libri-light off-by-one do, to compare with them",
    )
    abx.add_argument("--save-items", type=Path, metavar="OUT.item", help="write the items made from --phones")
    abx.set_defaults(run=run_abx)

    probe = kinds.add_parser("probe", help="linear probes for phone, speaker and word on every layer")
    _add_common(probe)
    probe.add_argument("--fit-split", help="split the probes are fitted on (default: --split, divided by recording)")
    probe.add_argument("--phones", type=Path, help="phone alignment: id, start, end, phone")
    probe.add_argument("--words", type=Path, help="word alignment: id, start, end, phone (the word)")
    probe.add_argument("--label", action="append", choices=("phone", "speaker", "word"), help="default: all three")
    probe.add_argument("--seeds", type=positive, default=3, help="divisions and draws of examples (default 3)")
    probe.add_argument("--examples", type=positive, default=10_000, help="most of each side (default 10000)")
    probe.set_defaults(run=run_probe)


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("sources", nargs="+", metavar="[NAME=]SOURCE", help=SOURCE_HELP)
    verb.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    verb.add_argument("--split", default="dev", help=SPLIT_HELP)
    verb.add_argument("--layer", type=int, action="append", metavar="N", help="layers (default: all of an encoder, "
                      "the one of a units bundle)")  # fmt: skip
    verb.add_argument("--untrained", action="store_true", help="also each encoder's architecture with random weights")
    verb.add_argument("-o", "--out", type=results_path, metavar="RESULTS.json", help="also writes RESULTS.md")


def _sources(options: argparse.Namespace, given: dict[str, str]) -> list[Source]:
    from speechunits.encoder.foreign import is_foreign
    from speechunits.evaluation.sources import PLAIN, open_sources
    from speechunits.units.bundle import encoder_path

    paths = {
        name: path if path in PLAIN or is_foreign(Path(path)) else str(encoder_path(Path(path)))
        for name, path in given.items()
    }
    return open_sources(paths, layers=options.layer, untrained=options.untrained)


def _write(options: argparse.Namespace, measured: dict[str, Any], table: str) -> None:
    from speechunits.run import write_json, write_text

    if options.out is not None:
        write_json(options.out, measured)
        write_text(options.out.with_suffix(".md"), table)
    print(table)


def _check_outputs(options: argparse.Namespace) -> None:
    """Check the places of the results, of the table beside them, and of items."""
    inputs = [options.manifest, options.phones, *(getattr(options, name, None) for name in ("items", "words"))]
    if options.out is not None:
        check_output(options.out, inputs=inputs, is_result=has_suffix(".json"))
        # A table without its results is somebody's notes.
        check_output(options.out.with_suffix(".md"), inputs=inputs, is_result=lambda _: options.out.exists())
    if getattr(options, "save_items", None) is not None:
        check_output(options.save_items, inputs=inputs, is_result=_is_items)


def _is_items(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(5) == b"#file"


def run_abx(options: argparse.Namespace) -> int:
    """Measure ABX."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.evaluation.abx.items import items_from_phones, read_items, write_items
    from speechunits.evaluation.abx.measure import AbxSettings, measure_abx
    from speechunits.report.discrimination import abx_markdown

    _check_outputs(options)
    corpus = corpus_of(options.manifest, options.phones)
    recordings = corpus.split(options.split)
    if options.items is not None:
        items = read_items(options.items)
    else:
        items = items_from_phones(recordings, corpus.phones, options.span)
    if options.save_items is not None:
        write_items(options.save_items, items)
    settings = AbxSettings(
        span=options.span if options.items is None else "given",
        speakers=("within", "across") if options.speaker == "both" else (options.speaker,),
        context=options.context or ("any" if options.span == "phoneme" else "within"),
        distance="angular" if options.distance == "edit" else options.distance,
        max_group=options.max_group, max_other_speakers=options.max_other_speakers or None, seed=options.seed,
        drop_last_frame=options.drop_last_frame,
    )  # fmt: skip
    edit, given = options.distance == "edit", named(options.sources)
    sources = [] if edit else _sources(options, given)
    bundles = {name: Path(path) for name, path in given.items()} if edit else {}
    measured = measure_abx(sources, bundles, items, recordings, settings, corpus.refuse)
    _write(options, measured, abx_markdown(measured))
    return 1 if corpus.refused else 0


def run_probe(options: argparse.Namespace) -> int:
    """Fit and score probes."""
    from speechunits.audio.corpus import corpus_of
    from speechunits.audio.phones import read_phones
    from speechunits.evaluation.probe.measure import ProbeSettings, measure_probes
    from speechunits.evaluation.sources import PLAIN
    from speechunits.report.discrimination import probe_markdown

    _check_outputs(options)
    corpus = corpus_of(options.manifest, options.phones)
    settings = ProbeSettings(
        labels=tuple(options.label or ("phone", "speaker", "word")), seeds=tuple(range(options.seeds)),
        fit_examples=options.examples, test_examples=options.examples,
    )  # fmt: skip
    # What costs nothing stands beside every encoder.
    sources = _sources(options, {name: name for name in PLAIN} | named(options.sources))
    measured = measure_probes(
        sources, corpus.split(options.fit_split or options.split), corpus.split(options.split),
        corpus.phones, read_phones(options.words) if options.words else {}, settings, corpus.refuse,
    )  # fmt: skip
    _write(options, measured, probe_markdown(measured))
    return 1 if corpus.refused else 0
