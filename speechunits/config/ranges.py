"""What a number of a configuration may be: the ranges that settings share, and their check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Range(NamedTuple):
    """Numbers that a setting may have."""

    said: str
    holds: Callable[[float], bool]


ABOVE_0 = Range("above 0", lambda number: number > 0)
AT_LEAST_0 = Range("at least 0", lambda number: number >= 0)
AT_LEAST_1 = Range("at least 1", lambda number: number >= 1)
AT_LEAST_2 = Range("at least 2 (one symbol says nothing)", lambda number: number >= 2)
SHARE = Range("within [0, 1]", lambda number: 0 <= number <= 1)
BELOW_1 = Range("within [0, 1)", lambda number: 0 <= number < 1)
NOT_0 = Range("within (0, 1]", lambda number: 0 < number <= 1)
LAYER = Range("at least -1", lambda number: number >= -1)


def check_ranges(config: Any, ranges: Mapping[Range, Sequence[str]]) -> None:
    """Check fields of a configuration: numbers, and all of those in tuples; None and words are no numbers.

    Raises
    ------
    ValueError
        If a number is out of its range: every such field is named.
    """
    faults = []
    for allowed, names in ranges.items():
        for name in names:
            value = getattr(config, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(allowed.holds(number) for number in numbers if isinstance(number, int | float)):
                shown = list(value) if isinstance(value, tuple) else value
                faults.append(f"{name} must be {allowed.said}, but is {shown} instead")
    if faults:
        raise ValueError("; ".join(faults))
