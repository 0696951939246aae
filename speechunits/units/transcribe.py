"""Recordings into unit transcripts: files, folders and manifests; a bad one is named and never stops the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from speechunits.audio.written import TRANSCRIBED
from speechunits.errors import UsageError
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.hardware import cores
from speechunits.run import content_key
from speechunits.units.claim import Claim
from speechunits.units.extract import OnFault
from speechunits.units.formats import format_named, to_durations
from speechunits.units.inputs import Input
from speechunits.units.units import Units
from speechunits.units.writing import TranscribeReport, Written, write_each

_NO_FRAME = f"shorter than one frame ({RECEPTIVE_FIELD / SAMPLE_RATE_HZ * 1000:g} ms): it has no units"


def transcribe(
    inputs: Sequence[Path],
    model: Units | Path,
    *,
    form: str = "text",
    frames: bool = False,
    pieces: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    device: str = "cpu",
    on_fault: OnFault | None = None,
    stream: TextIO | None = None,
) -> TranscribeReport:
    """Write the units of every recording among ``inputs``: files, globs, folders (searched), manifests (``.tsv``).

    Parameters
    ----------
    form
        One of ``speechunits.units.formats.FORMATS``.
    frames, pieces
        Keep every frame instead of merging repeats; write pseudo-text pieces (the bundle must hold a model).
    out
        Folder for one file a recording, written atomically; those already there are skipped unless ``overwrite``.
        Without it, one line a recording goes to ``stream`` (standard output): ``name<TAB>units`` in ``text``.
    jobs
        Recordings computed at a time, by default one a core; the units do not depend on it.
    device
        ``cpu`` or ``cuda``: see :meth:`Units.to`.
    on_fault
        Called with name and reason at each refusal and warning; by default they are printed to standard error.

    Raises
    ------
    UsageError, ModelRefused
        If options do not fit together, a manifest has faults, or ``out`` has others' texts; if the bundle is unusable.
    """
    chosen = format_named(form)
    if out is None and chosen.alone:
        raise UsageError(f"a {form} file holds one recording; name a folder for them with -o")
    if pieces and not chosen.pieces:
        raise UsageError(f"{form} holds units, not pieces; write pieces as text, jsonl, ctm, textgrid or eaf")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, but is {jobs} instead")
    units = (Units.load(model) if isinstance(model, Path) else model).to(device)
    pseudotext = units.pseudotext if pieces else None
    claim = _claim(units, [form, frames, pieces, *([] if device == "cpu" else [device])])

    def compute(item: Input) -> Written:
        transcript = units.transcribe(
            item.audio, start_s=item.start_s, end_s=item.end_s, name=item.name, margins="confidence" in chosen.holds
        )
        text = chosen.write(transcript, frames=frames, pseudotext=pseudotext)
        beside = [(suffix, to_durations(transcript, frames=frames)) for suffix in chosen.beside]
        return Written(text, None if len(transcript.units) else _NO_FRAME, transcript.duration_s, tuple(beside))

    return write_each(
        inputs, compute, suffix=chosen.suffix, beside=chosen.beside, named=form == "text", out=out, overwrite=overwrite,
        on_fault=on_fault, stream=stream, jobs=jobs or cores(), blank_if_refused=form == "km", claim=claim,
    )  # fmt: skip


def _claim(units: Units, options: list[object]) -> Claim:
    about = {"model": units.header["units"], "form": options}
    return Claim(record=TRANSCRIBED, key=content_key(units.key, *options), about=about)
