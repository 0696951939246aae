"""The loop of every command that writes one text a recording: a bad one is named and never stops the rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from speechunits.audio.manifest import DURATION_TOLERANCE_S
from speechunits.errors import InputRefused
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.progress import progress, seconds_text
from speechunits.run import name_fits, write_text
from speechunits.units.claim import Claim, claimed
from speechunits.units.extract import OnFault, ahead
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
    duration_s: float
    """As it was measured."""
    beside: tuple[tuple[str, str], ...] = ()
    """Suffix and text of further files, written before the first."""


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
    jobs: int = 1,
    blank_if_refused: bool = False,
    claim: Claim | None = None,
    beside: Sequence[str] = (),
) -> TranscribeReport:
    """Write ``compute`` of every recording among ``inputs``: audio files, folders (searched), manifests (``.tsv``).

    With ``out`` one file a recording, atomically, under its name and ``suffix``; those already there are skipped unless
    ``overwrite``, and progress is shown. Without it one line a recording on ``stream`` (standard output), with
    ``named`` after its name and a tab, with ``blank_if_refused`` an empty one in the place of a refused recording.
    ``jobs`` threads compute ahead; results are written in order meanwhile. Refusals and warnings go to ``on_fault``,
    by default to standard error. ``claim`` says what makes the texts in ``out``, ``beside`` the suffixes of the further
    files that ``compute`` gives each.

    Raises
    ------
    UsageError
        If ``out`` holds texts that the claim's model and options did not make, and not ``overwrite``.
    """
    report, tell = TranscribeReport(), on_fault or _print_fault

    def refuse(name: str, reason: str) -> None:
        report.refused.append((name, reason))
        tell(name, reason)

    found = _fitting(find_inputs(_once(inputs), refuse), out, (suffix, *beside), refuse)
    with (
        claimed(out, claim, [item.name for item in found], (suffix, *beside), overwrite=overwrite, done=report.done),
        _watched(_todo(found, out, suffix, report, overwrite=overwrite), shown=out is not None) as (todo, advance),
    ):
        for item, future in ahead(compute, todo, jobs):
            try:
                written = future.result()
            except InputRefused as error:
                refuse(item.name, str(error))
                if out is None and blank_if_refused:
                    print(file=stream or sys.stdout, flush=True)
                advance(item, 0.0)
                continue
            for warning in filter(None, (written.warning, _wrong_duration(item, written))):
                report.warnings.append((item.name, warning))
                tell(item.name, f"warning: {warning}")
            if out is None:
                line = f"{item.name}\t{written.text}" if named else written.text
                print(line, file=stream or sys.stdout, flush=True)
            else:
                _write(out, item.name, (*written.beside, (suffix, written.text)))
            report.done.append(item.name)
            advance(item, written.duration_s)
    return report


def _write(out: Path, name: str, texts: Iterable[tuple[str, str]]) -> None:
    for suffix, text in texts:
        write_text(out / (name + suffix), text if text.endswith("\n") else text + "\n")


def _once(inputs: Sequence[Path]) -> list[Path]:
    """Return the paths without those given before: the same file twice is no other input of that name."""
    first: dict[Path, Path] = {}
    for path in inputs:
        # Links are not followed: two of them are two names.
        first.setdefault(path.absolute(), path)
    return list(first.values())


def _wrong_duration(item: Input, written: Written) -> str | None:
    if item.duration_s is None or abs(item.duration_s - written.duration_s) <= DURATION_TOLERANCE_S:
        return None
    return (
        f"duration must be {written.duration_s:.3f} s, but is {item.duration_s:.3f} s in the manifest; the measured "
        "one is used"
    )


def _fitting(found: Sequence[Input], out: Path | None, suffixes: Sequence[str], refuse: OnFault) -> list[Input]:
    """Return the inputs whose names, with any of the suffixes, a file may have; the others are refused."""
    kept = []
    for item in found:
        long = [suffix for suffix in suffixes if out is not None and not name_fits(Path(item.name + suffix))]
        if long:
            refuse(item.name, f"with {long[0]} the name is longer than a file's may be (255 bytes); rename it")
        else:
            kept.append(item)
    return kept


def _todo(
    found: Sequence[Input], out: Path | None, suffix: str, report: TranscribeReport, *, overwrite: bool
) -> list[Input]:
    """Return the inputs that have no text yet, all with ``overwrite``; those that have one are said to be skipped."""
    todo = []
    for item in found:
        if out is not None and (out / (item.name + suffix)).exists() and not overwrite:
            report.skipped.append(item.name)
        else:
            todo.append(item)
    if report.skipped:
        there = f"{len(report.skipped)} of {len(found)} texts are there already, and are skipped"
        print(f"{there}; --overwrite writes them again", file=sys.stderr, flush=True)
    return todo


Watched = tuple[Sequence[Input], Callable[[Input, float], None]]


@contextmanager
def _watched(todo: Sequence[Input], *, shown: bool) -> Iterator[Watched]:
    """Yield the inputs, and a function to call with each that is finished, and its seconds: progress by bytes."""
    if not shown or not todo:
        yield todo, lambda _item, _seconds: None
        return
    sizes = {item.name: _bytes(item) for item in todo}
    started, heard_s = time.monotonic(), 0.0
    with progress("transcribing", sum(sizes.values())) as show:

        def advance(item: Input, duration_s: float) -> None:
            nonlocal heard_s
            heard_s += duration_s
            speed = heard_s / max(time.monotonic() - started, 1e-9)
            show(sizes[item.name], f"({seconds_text(heard_s)} of audio, {speed:.0f} x real time)")

        yield todo, advance


def _bytes(item: Input) -> int:
    """Return the size of a file; of a part of one, what it would be as 16-bit samples. At least 1."""
    if item.start_s is not None and item.end_s is not None:
        return max(1, round(2 * SAMPLE_RATE_HZ * (item.end_s - item.start_s)))
    try:
        return max(1, item.audio.stat().st_size)
    except OSError:
        # Missing or out of reach: refused by name when its turn comes.
        return 1


def _print_fault(name: str, reason: str) -> None:
    print(f"{name}: {reason}", file=sys.stderr, flush=True)
