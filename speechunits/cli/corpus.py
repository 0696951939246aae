"""Commands about recordings: ``synth`` and ``manifest``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import natural
from speechunits.cli.output import check_output

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    synth = commands.add_parser("synth", help="synthesise a corpus with text and exact phone alignments")
    synth.add_argument(
        "out", type=Path, metavar="OUT", help="folder to write: audio/, manifest.tsv, phones.tsv, words.tsv"
    )
    synth.add_argument("--hours", type=float, default=1.0, help="hours of speech (default %(default)s)")
    synth.add_argument("--seed", type=natural, default=0, help="another seed, another corpus (default %(default)s)")
    synth.add_argument("--voices", type=int, default=60, help="speakers over all splits (default %(default)s)")
    synth.add_argument("--languages", default="es", help="espeak languages, comma-separated (default %(default)s)")
    synth.add_argument(
        "--difficulty", choices=("clean", "field"), default="field",
        help="clean: voices alone; field: rooms, noise and levels as in the field (default)",
    )  # fmt: skip
    synth.add_argument("--jobs", type=int, default=2, help="processes; the bytes do not depend on it")
    synth.set_defaults(run=run_synth)

    manifest = commands.add_parser("manifest", help="scan a folder of recordings: verify, name every fault, split")
    manifest.add_argument(
        "folder", type=Path, metavar="FOLDER", help="folder of recordings, Kaldi data folder, or fairseq .tsv"
    )
    manifest.add_argument(
        "-o", "--out", type=Path, required=True, metavar="MANIFEST.tsv", help="the manifest to write (docs/formats.md)"
    )
    manifest.add_argument("--card", type=Path, help="read FOLDER as the corpus this card describes")
    manifest.add_argument("--segment", action="store_true", help="cut recordings of more than 15 s at pauses")
    manifest.add_argument(
        "--labels", type=Path, metavar="DIR", help="transcripts: .txt, or with --tier .eaf, .TextGrid"
    )
    manifest.add_argument("--tier", metavar="NAME", help="one row an annotation of this tier")
    manifest.add_argument("--seed", type=natural, default=0, help="seed of the splits and of cuts without a pause")
    manifest.set_defaults(run=run_manifest)


def run_synth(options: argparse.Namespace) -> int:
    """Write a synthetic corpus."""
    from speechunits.audio.synthetic import synthesise
    from speechunits.config import SynthConfig, build_config
    from speechunits.progress import progress

    tree = {name: getattr(options, name) for name in ("hours", "seed", "voices", "difficulty", "jobs")}
    config = build_config(SynthConfig, tree | {"languages": options.languages.split(",")}, origin="synth")
    with progress("synthesis", 1.0) as advance:
        report = synthesise(options.out, config, on_progress=advance)
    hours = ", ".join(f"{name} {hours:.2f} h" for name, hours in report.hours.items())
    print(f"{report.manifest}: {report.utterances} utterances, {report.speakers} speakers ({hours})")
    return 0


def run_manifest(options: argparse.Namespace) -> int:
    """Write a manifest; exit code 1 if something was refused."""
    from speechunits.audio.importing import ImportOptions, make_manifest
    from speechunits.audio.manifest import is_manifest

    check_output(options.out, inputs=[options.folder, options.card], is_result=is_manifest)
    chosen = ImportOptions(
        card=options.card, segment=options.segment, labels=options.labels, tier=options.tier, seed=options.seed
    )
    return 1 if make_manifest(options.folder, options.out, chosen) else 0
