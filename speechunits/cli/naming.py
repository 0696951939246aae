"""What several commands take: named paths, and where results go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speechunits.errors import UsageError

MANIFEST_HELP = "manifest of the recordings, as `speechunits manifest` writes it"
FILES_HELP = "recordings, globs in quotes, folders, manifests (.tsv); `-` reads a list of these, one a line"
SPLIT_HELP = "split of the manifest that is measured (default: %(default)s)"


def named(words: Sequence[str]) -> dict[str, str]:
    """Return the path of each ``[NAME=]PATH`` by its name; a path without one is its own, and so is one that exists.

    Raises
    ------
    UsageError
        If two have the same name, or one has no path.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or Path(word).exists():
            name = path = word
        if not path:
            raise UsageError(f"a source must be NAME=PATH or PATH, but is {word!r} instead")
        if (name or path) in found:
            raise UsageError(f"all must have different names, but two are {name or path!r}; write NAME=PATH")
        found[name or path] = path
    return found


def listed(words: Sequence[Path]) -> list[Path]:
    """Return the paths, and in the place of ``-`` those of a list on standard input, one a line."""
    from speechunits.units.inputs import read_list

    told = read_list(sys.stdin.buffer) if Path("-") in words else []
    return [path for word in words for path in (told if word == Path("-") else [word])]


def results_path(text: str) -> Path:
    """Return where results go as JSON: the table goes beside it, to ``.md``."""
    path = Path(text)
    if path.with_suffix(".md") == path:
        raise argparse.ArgumentTypeError(
            f"must be a file for JSON, such as {path.with_suffix('.json')}, but is {text!r}: the table goes there"
        )
    return path


def natural(text: str) -> int:
    """Return a whole number of at least 0, such as a seed."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, but is {text!r}")
    return number
