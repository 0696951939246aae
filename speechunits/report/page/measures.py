"""Tables of measurements whose makers decide the names: any JSON of numbers by name, flattened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_MEASURES = ("key", "provenance")


def measure_table(content: Any) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: a row a measure, a column each thing measured.

    ``{"units": {"abx": {"within": 0.1}}, "MFCC": {…}}`` gives the row ``abx: within`` and the columns units and MFCC; a
    list of objects gives a column each; numbers alone give one column.
    """
    if isinstance(content, Mapping):
        content = content.get("measures", content)
    if isinstance(content, list):
        content = {_name(item, index): item for index, item in enumerate(content, start=1)}
    if not isinstance(content, Mapping):
        content = {"value": content}
    content = {key: value for key, value in content.items() if key not in _NOT_MEASURES}
    if not content or not all(isinstance(value, Mapping) for value in content.values()):
        content = {"value": content}
    columns = {str(name): dict(_leaves(value, ())) for name, value in content.items()}
    measures = list(dict.fromkeys(key for column in columns.values() for key in column))
    rows = [[measure, *(column.get(measure, "–") for column in columns.values())] for measure in measures]
    return ["measure", *columns], rows


def _name(item: Any, index: int) -> str:
    found = item.get("name", item.get("model")) if isinstance(item, Mapping) else None
    return str(found or index)


def _leaves(value: Any, path: tuple[str, ...]) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() if key not in _NOT_MEASURES
                for leaf in _leaves(inner, (*path, str(key).replace("_", " ")))]  # fmt: skip
    if isinstance(value, list):
        # A list of numbers is a curve or an interval; a long one says nothing in a table.
        if len(value) > 4 or any(isinstance(item, Mapping | list) for item in value):
            return []
        return [(": ".join(path), ", ".join(_shown(item) for item in value))]
    return [(": ".join(path) or "value", _shown(value))]


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
