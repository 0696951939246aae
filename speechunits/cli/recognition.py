"""The command that recognises: ``recognize``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    recognize = commands.add_parser("recognize", help="write the text of any recording with a fine-tuned recogniser")
    recognize.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, folders, manifests (.tsv)")
    recognize.add_argument("--model", type=Path, required=True, metavar="ASR.safetensors")
    recognize.add_argument("--format", choices=("text", "jsonl"), default="text")
    recognize.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="one file a recording (default: standard output)"
    )
    recognize.add_argument("--overwrite", action="store_true", help="write again what is already there")
    recognize.set_defaults(run=run_recognize)


def run_recognize(options: argparse.Namespace) -> int:
    """Recognise; exit code 1 if an input was refused."""
    from speechunits.asr.decode import recognize

    report = recognize(options.files, options.model, form=options.format, out=options.out, overwrite=options.overwrite)
    return 1 if report.refused else 0
