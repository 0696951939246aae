"""Praat's TextGrids as text, long or short, in UTF-8 or UTF-16: not Praat's binary form, nor its older encodings.

Source: Praat manual, "TextGrid file formats": only free-standing numbers, strings and flags count, in a fixed order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from speechunits.audio.annotation import Annotation, AnnotationFile, refused

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(<\w+>)|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)')
_MOST_TIERS = 10_000


def read_textgrid(path: Path) -> AnnotationFile:
    """Read the interval tiers of a TextGrid; point tiers have no times to cut at: only their names are kept.

    Raises
    ------
    InputRefused
        If the file cannot be read, is no TextGrid, or ends too early.
    """
    found = [match.groups() for match in _TOKEN.finditer(_text(path))]
    tokens = iter(found)

    def word() -> str:
        quoted, _, _ = next(tokens)
        if quoted is None:
            raise ValueError("a text in quotes is missing")
        return quoted.replace('""', '"')

    def value() -> float:
        _, _, digits = next(tokens)
        if digits is None:
            raise ValueError("a number is missing")
        return float(digits)

    try:
        # Older versions name the short form.
        if word() not in ("ooTextFile", "ooTextFile short") or word() != "TextGrid":
            raise ValueError("its first lines name another kind of file")
        start_s = value()
        end_s = value()
        if next(tokens)[1] != "<exists>":
            return AnnotationFile(tiers={}, start_s=start_s, duration_s=end_s)
        tiers: dict[str, list[Annotation]] = {}
        repeated: set[str] = set()
        points: list[str] = []
        for _ in range(min(int(value()), _MOST_TIERS)):
            name, rows = _tier(word, value)
            if rows is None:
                points.append(name)
            else:
                repeated |= {name} & set(tiers)
                tiers[name] = rows
    except StopIteration as error:
        raise refused(path, "the TextGrid ends too early: truncated; copy it again from its source") from error
    except ValueError as error:
        raise refused(path, f"this is no TextGrid that can be read ({error}); save it again from Praat") from error
    return AnnotationFile(
        tiers=tiers, start_s=start_s, duration_s=end_s, repeated=frozenset(repeated), points=tuple(points)
    )


def _tier(word: Callable[[], str], value: Callable[[], float]) -> tuple[str, list[Annotation] | None]:
    kind, name = word(), word()
    value(), value()
    size = int(value())
    if kind == "IntervalTier":
        return name, [Annotation(value(), value(), word()) for _ in range(size)]
    if kind != "TextTier":
        raise ValueError(f"a tier must be an IntervalTier or a TextTier, but is {kind!r} instead")
    for _ in range(size):
        value(), word()
    return name, None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}; check the path") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise refused(path, "is neither UTF-8 nor UTF-16; in Praat, set 'Text writing preferences' to UTF-8") from error
