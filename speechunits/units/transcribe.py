"""Recordings into unit transcripts: files, folders and manifests; a bad one is named and never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from speechunits.errors import InputRefused, UsageError
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.run import content_key, read_json, write_json, write_text
from speechunits.units.extract import OnFault
from speechunits.units.formats import to_json, to_text, to_textgrid
from speechunits.units.inputs import find_inputs
from speechunits.units.units import Units

Format = Literal["text", "jsonl", "textgrid"]
SUFFIX = {"text": ".txt", "jsonl": ".jsonl", "textgrid": ".TextGrid"}
_WRITERS: Mapping[str, Callable[..., str]] = {"text": to_text, "jsonl": to_json, "textgrid": to_textgrid}
_NO_FRAME = f"shorter than one frame ({RECEPTIVE_FIELD / SAMPLE_RATE_HZ * 1000:g} ms): it has no units"
_RECORD = "transcribe.json"
"""Beside the transcripts: what made them, so that another model's are never taken for done."""


@dataclass(kw_only=True)
class TranscribeReport:
    """What became of every input."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Transcribed before, by the same model and options."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason."""


def transcribe(
    inputs: Sequence[Path],
    model: Units | Path,
    *,
    form: Format = "text",
    frames: bool = False,
    pieces: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    on_fault: OnFault | None = None,
    stream: TextIO | None = None,
) -> TranscribeReport:
    """Write the units of every recording among ``inputs``: audio files, folders (searched), manifests (``.tsv``).

    Parameters
    ----------
    frames, pieces
        Keep every frame instead of merging repeats; write pseudo-text pieces (the bundle must hold a model).
    out
        Folder for one file a recording, written atomically; those already there are skipped unless ``overwrite``.
        Without it, one line a recording goes to ``stream`` (standard output): ``name<TAB>units``, or JSON.
    on_fault
        Called with name and reason at each refusal and warning; by default they are printed to standard error.

    Raises
    ------
    UsageError, InputRefused
        If options do not fit together, a manifest has faults, or ``out`` is another model's; if the bundle is unusable.
    """
    _check(form, out)
    units = Units.load(model) if isinstance(model, Path) else model
    pseudotext = units.pseudotext if pieces else None
    report, tell = TranscribeReport(), on_fault or _print_fault

    def refuse(name: str, reason: str) -> None:
        report.refused.append((name, reason))
        tell(name, reason)

    _claim(out, units, [form, frames, pieces], overwrite=overwrite)
    for item in find_inputs(inputs, refuse):
        target = None if out is None else out / (item.name + SUFFIX[form])
        if target is not None and target.exists() and not overwrite:
            report.skipped.append(item.name)
            continue
        try:
            transcript = units.transcribe(item.audio, start_s=item.start_s, end_s=item.end_s, name=item.name)
        except InputRefused as error:
            refuse(item.name, str(error))
            continue
        if not len(transcript.units):
            report.warnings.append((item.name, _NO_FRAME))
            tell(item.name, f"warning: {_NO_FRAME}")
        text = _WRITERS[form](transcript, frames=frames, pseudotext=pseudotext)
        if target is None:
            print(f"{item.name}\t{text}" if form == "text" else text, file=stream or sys.stdout, flush=True)
        else:
            write_text(target, text if text.endswith("\n") else text + "\n")
        report.done.append(item.name)
    return report


def _check(form: str, out: Path | None) -> None:
    if form not in SUFFIX:
        raise UsageError(f"the format must be one of {', '.join(SUFFIX)}, but is {form!r} instead")
    if out is None and form == "textgrid":
        raise UsageError("TextGrids are files, one a recording; name a folder for them with -o")


def _claim(out: Path | None, units: Units, options: list[object], *, overwrite: bool) -> None:
    """Record in ``out`` which model and options its transcripts are of; refuse those of others."""
    if out is None:
        return
    key = content_key(units.key, *options)
    record = out / _RECORD
    if record.exists() and not overwrite and read_json(record).get("key") != key:
        raise UsageError(
            f"{out} holds transcripts of another model, format or option; add --overwrite, or name another folder"
        )
    write_json(record, {"key": key, "model": units.header["units"], "form": options})


def _print_fault(name: str, reason: str) -> None:
    print(f"{name}: {reason}", file=sys.stderr, flush=True)
