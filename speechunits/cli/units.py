"""Commands about units: ``units fit``, ``transcribe``, ``convert``, ``export``, ``info``, and those of pseudo-text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import FILES_HELP, MANIFEST_HELP, listed, natural, positive
from speechunits.cli.output import check_output, check_texts, has_suffix, is_units
from speechunits.cli.pseudotext import add as add_pseudotext
from speechunits.errors import UsageError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


FORMAT_NAMES = ("text", "jsonl", "ctm", "textgrid", "eaf", "km", "textless")
"""Of ``speechunits.units.formats``, which is too heavy for a parser."""
FORMATS_HELP = "what is written: docs/formats.md says what each format holds"


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    _add_fit(commands)
    transcribe = commands.add_parser("transcribe", help="write the units of any recording")
    transcribe.add_argument("files", nargs="*", type=Path, metavar="FILE", help=FILES_HELP)
    transcribe.add_argument(
        "--model", type=Path, required=True, metavar="UNITS.safetensors", help="the bundle whose units are written"
    )
    transcribe.add_argument("--format", choices=FORMAT_NAMES, default="text", help=f"{FORMATS_HELP} (default: text)")
    transcribe.add_argument("--frames", action="store_true", help="keep every frame instead of merging repeated units")
    transcribe.add_argument("--bpe", action="store_true", help="write pseudo-text pieces instead of units")
    transcribe.add_argument("--jobs", type=int, metavar="N", help="recordings at a time (default: one a core)")
    transcribe.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    transcribe.add_argument("--overwrite", action="store_true", help="write again what is already there")
    transcribe.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="one file a recording (default: standard output)"
    )
    transcribe.add_argument(
        "--stream", action="store_true",
        help="units of a causal bundle while a recording goes on: raw PCM on standard input (16 kHz, mono, 16-bit "
        "signed, little-endian: s16le) to text or ctm on standard output. Latency: 25 ms (400 samples), 20 ms for each "
        "frame that smoothing looks ahead (`speechunits info` states the sum), and a chunk",
    )  # fmt: skip
    transcribe.add_argument("--chunk", type=int, metavar="MS", help="of --stream (default: 100)")
    transcribe.set_defaults(run=run_transcribe)
    _add_convert(commands)

    add_pseudotext(commands)
    export = commands.add_parser("export", help="units for other programs")
    export.add_argument("model", type=Path, metavar="UNITS.safetensors", help="the bundle to export")
    export.add_argument("--onnx", type=Path, required=True, metavar="OUT.onnx", help="samples of a window to its units")
    export.add_argument("--seconds", type=int, default=20, help="the window: 1 to 20 (default)")
    export.set_defaults(run=run_export)
    info = commands.add_parser("info", help="print the header and quality card of a bundle")
    info.add_argument("bundle", type=Path, metavar="BUNDLE.safetensors", help="an encoder, units or a recogniser")
    info.set_defaults(run=run_info)


def _add_convert(commands: Commands) -> None:
    verb = commands.add_parser("convert", help="unit transcripts of one format into another, naming what is lost")
    verb.add_argument("source", type=Path, metavar="IN", help="a file of transcripts, or a folder of them")
    verb.add_argument("--format", choices=FORMAT_NAMES, required=True, help=FORMATS_HELP)
    verb.add_argument("--from", dest="source_format", choices=FORMAT_NAMES, help="of IN (default: by its suffix)")
    verb.add_argument("--frames", action="store_true", help="write every frame; text of IN holds one unit a frame")
    verb.add_argument("--bpe", type=Path, metavar="UNITS.safetensors", help="write this bundle's pseudo-text pieces")
    verb.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="a file, or a folder of files")
    verb.add_argument("--overwrite", action="store_true", help="write over files that are there already")
    verb.set_defaults(run=run_convert)


def _add_fit(commands: Commands) -> None:
    units = commands.add_parser("units", help="fit units on an encoder").add_subparsers(required=True)
    fit = units.add_parser("fit", help="k-means on a layer, or the learner's codebook, into one bundle")
    fit.add_argument(
        "source_model", type=Path, metavar="RUN|BUNDLE|FOLDER|NAME",
        help="run folder, encoder.safetensors, Hugging Face folder or hub name, fairseq2 checkpoint; `mfcc`",
    )  # fmt: skip
    fit.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    fit.add_argument(
        "--source", choices=("kmeans", "codebook"), default="kmeans",
        help="k-means on a layer (default), or the codebook that the learner learned itself",
    )  # fmt: skip
    fit.add_argument(
        "--clusters", default="100", metavar="K", help="a number, or `auto`, `auto:50,100,200`: the best without labels"
    )
    fit.add_argument(
        "--layer", default="auto", help="a number (-1: the front end's own output), or `auto`: the best without labels"
    )
    fit.add_argument("--latents", action="store_true", help="`auto` may also choose -1")
    fit.add_argument("--criterion", default="predictability", help="by which `auto` chooses (docs/evaluation.md)")
    fit.add_argument(
        "--seed", type=natural, default=0, help="of the sample of frames and the first centroids (default 0)"
    )
    fit.add_argument("--restarts", type=positive, default=1, help="k-means runs, of which the best is kept")
    fit.add_argument("--seeding", choices=("sample", "k-means++", "pass"), default="sample", help="first centroids")
    fit.add_argument("--stream-passes", type=int, default=0, help="mini-batch passes over every frame")
    fit.add_argument("--residual-clusters", type=int, default=0, help="entries of a second codebook (K times as many)")
    fit.add_argument("--allow-pickle", action="store_true", help="read a foreign checkpoint that is a pickle")
    fit.add_argument("-o", "--out", type=Path, required=True, metavar="UNITS.safetensors", help="the bundle to write")
    fit.set_defaults(run=run_fit)


def run_fit(options: argparse.Namespace) -> int:
    """Fit units."""
    import tempfile

    from speechunits import fitting
    from speechunits.audio.corpus import corpus_of
    from speechunits.config import UnitsConfig, build_config
    from speechunits.units.bundle import encoder_bundle

    mfcc = str(options.source_model) == "mfcc"
    sizes, clusters = _sizes(options.clusters)
    same = ("latents", "criterion", "seed", "restarts", "seeding", "stream_passes", "residual_clusters")
    tree = {key: getattr(options, key) for key in same} | {
        "source": "mfcc" if mfcc else options.source,
        "clusters": clusters,
        "layer": int(options.layer) if options.layer.removeprefix("-").isdecimal() else options.layer,
    }
    config = build_config(UnitsConfig, tree, origin="units fit")
    check_output(options.out, inputs=[options.manifest, options.source_model], is_result=is_units)
    corpus = corpus_of(options.manifest)
    with tempfile.TemporaryDirectory() as folder:
        source = None
        if not mfcc:
            source = encoder_bundle(options.source_model, Path(folder), allow_pickle=options.allow_pickle)
        fitting.fit_units(source, corpus, config, options.out, sizes=sizes)
    return 1 if corpus.refused else 0


def _sizes(word: str) -> tuple[tuple[int, ...], int]:
    """Return the numbers of clusters to choose among, and the one to begin with."""
    from speechunits.evaluation.select import SIZES

    head, _, tail = word.partition(":")
    numbers = tail.split(",") if tail else [] if head == "auto" else [head]
    if head not in ("auto", *numbers) or not all(number.isdecimal() for number in numbers):
        raise UsageError(f"--clusters must be a number, auto, or auto:50,100,200, but is {word!r} instead")
    if head != "auto":
        return (), int(head)
    # Layers are compared at the protocol's K.
    return tuple(map(int, numbers)) or SIZES, 100


def run_export(options: argparse.Namespace) -> int:
    """Export units."""
    from speechunits.units.export import export_onnx
    from speechunits.units.units import Units

    check_output(options.onnx, inputs=[options.model], is_result=has_suffix(".onnx"))
    export_onnx(Units.load(options.model), options.onnx, seconds=options.seconds)
    print(f"{options.onnx}: the units of windows of {options.seconds} s", file=sys.stderr)
    return 0


def run_transcribe(options: argparse.Namespace) -> int:
    """Transcribe; exit code 1 if an input was refused."""
    from speechunits.units.formats import FORMATS
    from speechunits.units.transcribe import transcribe

    if options.stream:
        return _run_stream(options)
    if options.chunk is not None:
        raise UsageError("--chunk is what --stream reads at a time, but is given without it; leave it out")
    check_texts(options.out, [form.suffix for form in FORMATS.values()])
    if not options.files:
        raise UsageError("name recordings to transcribe, or `-` to read a list of them from standard input")
    report = transcribe(
        listed(options.files), options.model, form=options.format, frames=options.frames, pieces=options.bpe,
        out=options.out, overwrite=options.overwrite, jobs=options.jobs, device=options.device,
    )  # fmt: skip
    return 1 if report.refused else 0


def _run_stream(options: argparse.Namespace) -> int:
    from speechunits.units.microphone import transcribe_stream
    from speechunits.units.units import Units

    unused = {
        "--bpe": options.bpe, "--out": options.out, "--overwrite": options.overwrite, "--jobs": options.jobs,
        "--device": options.device != "cpu", "FILE": [name for name in options.files if name != Path("-")],
    }  # fmt: skip
    if any(unused.values()):
        named = ", ".join(name for name, value in unused.items() if value)
        raise UsageError(
            f"--stream reads standard input and writes standard output, but {named} is given too; leave it out"
        )
    transcribe_stream(
        sys.stdin.buffer, sys.stdout, Units.load(options.model), form=options.format, frames=options.frames,
        chunk_ms=100 if options.chunk is None else options.chunk,
    )  # fmt: skip
    return 0


def run_convert(options: argparse.Namespace) -> int:
    """Convert transcripts; exit code 1 if one was refused."""
    from speechunits.units.convert import convert
    from speechunits.units.formats import FORMATS
    from speechunits.units.units import Units

    check_texts(options.out, [form.suffix for form in FORMATS.values()], own=FORMATS[options.format].suffix)
    pseudotext = None if options.bpe is None else Units.load(options.bpe).pseudotext
    report = convert(
        options.source, options.out, options.format, source_form=options.source_format, frames=options.frames,
        pseudotext=pseudotext, overwrite=options.overwrite,
    )  # fmt: skip
    for name, reason in report.refused:
        print(f"{name}: {reason}", file=sys.stderr)
    for lost in report.lost:
        print(f"{options.format} does not hold {lost}", file=sys.stderr)
    print(f"{options.out}: {report.transcripts} transcripts", file=sys.stderr)
    return 1 if report.refused else 0


def run_info(options: argparse.Namespace) -> int:
    """Print a bundle's header."""
    import json

    from speechunits.units.bundle import read_bundle, refused_header

    _, header = read_bundle(options.bundle)
    if header["kind"] == "units":
        from speechunits.units.microphone import stream_text

        with refused_header(str(options.bundle)):
            header["stream"] = stream_text(header)
    print(json.dumps(header, indent=1, ensure_ascii=False, sort_keys=True))
    return 0
