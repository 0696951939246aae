"""Recordings into unit transcripts: files, folders and manifests; a bad one is named and never stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TextIO

from speechunits.errors import UsageError
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.run import content_key, read_json, write_json
from speechunits.units.extract import OnFault
from speechunits.units.formats import to_json, to_text, to_textgrid
from speechunits.units.inputs import Input
from speechunits.units.units import Units
from speechunits.units.writing import TranscribeReport, Written, write_each

Format = Literal["text", "jsonl", "textgrid"]
SUFFIX = {"text": ".txt", "jsonl": ".jsonl", "textgrid": ".TextGrid"}
_WRITERS: Mapping[str, Callable[..., str]] = {"text": to_text, "jsonl": to_json, "textgrid": to_textgrid}
_NO_FRAME = f"shorter than one frame ({RECEPTIVE_FIELD / SAMPLE_RATE_HZ * 1000:g} ms): it has no units"
_RECORD = "transcribe.json"
"""Beside the transcripts: what made them, so that another model's are never taken for done."""


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
    _claim(out, units, [form, frames, pieces], overwrite=overwrite)

    def compute(item: Input) -> Written:
        transcript = units.transcribe(item.audio, start_s=item.start_s, end_s=item.end_s, name=item.name)
        text = _WRITERS[form](transcript, frames=frames, pseudotext=pseudotext)
        return Written(text, None if len(transcript.units) else _NO_FRAME)

    return write_each(
        inputs, compute, suffix=SUFFIX[form], named=form == "text", out=out, overwrite=overwrite, on_fault=on_fault,
        stream=stream,
    )  # fmt: skip


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
