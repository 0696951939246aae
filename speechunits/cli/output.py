"""Where a result goes: what cannot be written, or is somebody's input, is said before the work and not after it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from speechunits.errors import UsageError


def check_output(
    out: Path,
    *,
    inputs: Iterable[Path | None] = (),
    is_result: Callable[[Path], bool] = lambda _: True,
) -> None:
    """Check the place of a command's result.

    ``inputs`` are the files the command reads. A file that is there is written over only where ``is_result`` says that
    it is what the command writes.

    Raises
    ------
    UsageError
        If the result would replace an input or another kind of file, or has the suffix of recordings or annotations, or
        cannot be written.
    """
    from speechunits.audio.annotation import SUFFIXES as ANNOTATIONS
    from speechunits.audio.load import printable
    from speechunits.audio.scan import FOREIGN, SUFFIXES
    from speechunits.run import check_writable

    shown, kind = printable(out), out.suffix.lower()
    if kind in {suffix.lower() for suffix in (*SUFFIXES, *FOREIGN, *ANNOTATIONS)}:
        raise UsageError(f"-o {shown} must not be named like a recording or an annotation file ({kind}); rename it")
    check_writable(out)
    if not out.exists():
        return
    if any(path is not None and path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(f"-o {shown} is one of the inputs, which would be written over; name another file")
    if not is_result(out):
        raise UsageError(
            f"-o {shown} is there already, and not what this command writes: perhaps somebody's own, which would be "
            "written over; name another file"
        )


def is_units(path: Path) -> bool:
    """Tell whether a file is a bundle of units: not an encoder's or a recogniser's, which took longer to make."""
    from speechunits.errors import ModelRefused
    from speechunits.units.bundle import read_header

    try:
        read_header(path, "units")
    except ModelRefused:
        return False
    return True


def is_arpa(path: Path) -> bool:
    """Tell whether a file begins as language models in the ARPA format do, perhaps after a comment."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return b"\\data\\" in file.read(4096)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False


def has_suffix(suffix: str) -> Callable[[Path], bool]:
    """Return a test of a file's suffix, in any case."""
    return lambda path: path.suffix.lower() == suffix


def check_texts(out: Path | None, suffixes: Iterable[str], own: str | None = None) -> None:
    """Check the place of a command's texts: a folder, or one file where it ends in ``own``; None: standard output.

    Raises
    ------
    UsageError
        If it is ``-``, or is named like a file of another one of the formats' ``suffixes``.
    """
    from speechunits.audio.load import printable

    if out is None or out.is_dir():
        return
    where = "a folder" if own is None else f"a folder, or a file that ends in {own}"
    remedy = "leave out -o for standard output" if own is None else "nothing goes to standard output"
    if out == Path("-"):
        raise UsageError(f"-o must name {where}, but is -; {remedy}")
    kind = out.suffix.lower()
    if kind in {suffix.lower() for suffix in suffixes} and kind != (own or "").lower():
        raise UsageError(f"-o must name {where}, but {printable(out)} is named like a file of {kind}; rename it")
