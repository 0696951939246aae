"""The commands that recognise: ``recognize``, and ``lm`` that makes a language model for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import FILES_HELP, listed
from speechunits.cli.output import check_output, check_texts, is_arpa

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    recognize = commands.add_parser("recognize", help="write the text of any recording with a fine-tuned recogniser")
    recognize.add_argument("files", nargs="+", type=Path, metavar="FILE", help=FILES_HELP)
    recognize.add_argument(
        "--model", type=Path, required=True, metavar="ASR.safetensors", help="the recogniser, as `finetune` writes it"
    )
    recognize.add_argument("--lm", type=Path, metavar="LM.arpa", help="n-gram model over characters or words (.gz too)")
    recognize.add_argument("--lm-weight", type=float, metavar="W", help="of the language model's ln P (default: .5)")
    recognize.add_argument("--bonus", type=float, metavar="NATS", help="for each symbol written (default: 1)")
    recognize.add_argument("--beam", type=int, metavar="N", help="prefixes kept a frame (default with --lm: 32)")
    recognize.add_argument(
        "--format", choices=("text", "jsonl", "ctm", "textgrid", "srt"), default="text",
        help="what is written: docs/recognition.md says what each format holds (default: text)",
    )  # fmt: skip
    recognize.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="one file a recording (default: standard output)"
    )
    recognize.add_argument("--overwrite", action="store_true", help="write again what is already there")
    recognize.set_defaults(run=run_recognize)

    model = commands.add_parser("lm", help="estimate an n-gram language model of texts")
    model.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="a line a sentence, or manifests (.tsv)")
    model.add_argument("-o", "--out", type=Path, required=True, metavar="LM.arpa", help="the model to write")
    model.add_argument("--order", type=int, default=6, help="longest n-gram (default: 6)")
    model.add_argument("--words", action="store_true", help="over words instead of characters")
    model.add_argument("--split", default="train", help="of a manifest that has splits (default: train)")
    model.set_defaults(run=run_lm)


def run_recognize(options: argparse.Namespace) -> int:
    """Recognise; exit code 1 if an input was refused."""
    from speechunits.asr.beam import Search
    from speechunits.asr.decode import recognize
    from speechunits.asr.formats import FORMATS
    from speechunits.errors import UsageError

    check_texts(options.out, [form.suffix for form in FORMATS.values()])

    given = {"width": options.beam, "weight": options.lm_weight, "bonus": options.bonus}
    given = {name: value for name, value in given.items() if value is not None}
    if "weight" in given and options.lm is None:
        raise UsageError("--lm-weight weighs a language model, but there is none; give one with --lm")
    try:
        # Without a model nothing shortens texts, so nothing has to lengthen them.
        search = Search(**({} if options.lm else {"bonus": 0.0}) | given) if given else None
    except ValueError as error:
        raise UsageError(f"--beam, --lm-weight, --bonus: {error}") from error
    report = recognize(
        listed(options.files), options.model, form=options.format, lm=options.lm, search=search, out=options.out,
        overwrite=options.overwrite,
    )  # fmt: skip
    return 1 if report.refused else 0


def run_lm(options: argparse.Namespace) -> int:
    """Estimate a language model."""
    from speechunits.asr.arpa import write_arpa
    from speechunits.evaluation.language import estimate_ngrams, read_texts

    check_output(options.out, inputs=options.texts, is_result=is_arpa)
    texts = [text for path in options.texts for text in read_texts(path, options.split)]
    model = estimate_ngrams(texts, order=options.order, words=options.words)
    write_arpa(options.out, model)
    kind = "words" if options.words else "characters"
    print(f"{options.out}: {len(model.symbols)} {kind}, {len(model.ngrams)} n-grams of {len(texts)} texts")
    return 0
