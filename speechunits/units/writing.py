"""The loop of every command that writes one text a recording: a bad one is named and never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from speechunits.errors import InputRefused
from speechunits.run import write_text
from speechunits.units.extract import OnFault
from speechunits.units.inputs import Input, find_inputs


@dataclass(kw_only=True)
class TranscribeReport:
    """What became of every input."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Transcribed before, by the same model and options."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason."""


class Written(NamedTuple):
    """What is to be written of one recording."""

    text: str
    warning: str | None


def write_each(
    inputs: Sequence[Path],
    compute: Callable[[Input], Written],
    *,
    suffix: str,
    named: bool,
    out: Path | None,
    overwrite: bool,
    on_fault: OnFault | None,
    stream: TextIO | None,
) -> TranscribeReport:
    """Write ``compute`` of every recording among ``inputs``: audio files, folders (searched), manifests (``.tsv``).

    With ``out`` one file a recording, atomically, under its name and ``suffix``; those already there are skipped unless
    ``overwrite``. Without it one line a recording on ``stream`` (standard output), with ``named`` after its name and a
    tab. Refusals and warnings go to ``on_fault``, by default to standard error.
    """
    report, tell = TranscribeReport(), on_fault or _print_fault

    def refuse(name: str, reason: str) -> None:
        report.refused.append((name, reason))
        tell(name, reason)

    for item in find_inputs(inputs, refuse):
        target = None if out is None else out / (item.name + suffix)
        if target is not None and target.exists() and not overwrite:
            report.skipped.append(item.name)
            continue
        try:
            text, warning = compute(item)
        except InputRefused as error:
            refuse(item.name, str(error))
            continue
        if warning is not None:
            report.warnings.append((item.name, warning))
            tell(item.name, f"warning: {warning}")
        if target is None:
            print(f"{item.name}\t{text}" if named else text, file=stream or sys.stdout, flush=True)
        else:
            write_text(target, text if text.endswith("\n") else text + "\n")
        report.done.append(item.name)
    return report


def _print_fault(name: str, reason: str) -> None:
    print(f"{name}: {reason}", file=sys.stderr, flush=True)
