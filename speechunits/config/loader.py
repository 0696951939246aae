"""YAML and ``key=value`` pairs into frozen dataclasses; every fault is listed at once."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from speechunits.errors import UsageError

T = TypeVar("T")
LATER: Mapping[str, bool] = {"later": True}
"""Metadata of a field that is written only where it is not at its default: what was made before it keeps its key."""
_TAG = "tag:yaml.org,2002:"
_WRITTEN = {
    f"{_TAG}bool": re.compile(r"(true|True|TRUE|false|False|FALSE)$"),
    f"{_TAG}int": re.compile(r"[-+]?\d+(_\d+)*$"),
    f"{_TAG}float": re.compile(r"[-+]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][-+]?\d+)?$|[-+]?\.inf$|\.nan$"),
}
_REPLACED = {*_WRITTEN, f"{_TAG}timestamp"}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: no key twice; numbers are decimal and words are words, as in YAML 1.2.

    In YAML 1.1, 010 is eight, 1:30 is ninety, 3e-4 is no number, and Norwegian (``no``) is false.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - an attribute of yaml's classes
        first: [*_WRITTEN.items(), *((tag, pattern) for tag, pattern in known if tag not in _REPLACED)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        **yaml.SafeLoader.yaml_constructors, f"{_TAG}int": lambda _, node: int(node.value),
    }  # fmt: skip

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse a key that is there twice: the second would replace the first without a word."""
        node = super().compose_mapping_node(anchor)
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [name for name, count in names.items() if count > 1]:
            raise yaml.composer.ComposerError(None, None, f"the key {twice[0]!r} is there twice", node.start_mark)
        return node


def load_config(
    kind: type[T], path: Path, overrides: Sequence[str] = (), *, noun: str = "recipe", shelf: str = "recipes/"
) -> T:
    """Read ``path`` as a ``kind``, with dotted ``key=value`` overrides applied on top.

    Errors call the file a ``noun``, and name the ``shelf`` that holds those of the project.

    Raises
    ------
    UsageError
        If the file is missing, is not a YAML mapping, or holds unknown keys or wrong types: all of them named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot read the {noun} {path}: {error.strerror}; {shelf} holds those of the project"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the {noun} {path} must be UTF-8 text, but is not: {error}") from error
    try:
        tree = yaml.load(text, _Loader) or {}  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise UsageError(f"the {noun} {path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UsageError(
            f"the {noun} {path} must be a mapping of keys to values, but is a {type(tree).__name__} instead"
        )
    for override in overrides:
        _apply(tree, override)
    return build_config(kind, tree, origin=str(path))


def build_config(kind: type[T], tree: Mapping[str, Any], *, origin: str = "configuration") -> T:
    """Make a ``kind`` from nested mappings (a recipe, a bundle's header)."""
    faults: list[str] = []
    value = _dataclass(kind, tree, "", faults)
    if faults:
        raise UsageError(f"{origin}: {len(faults)} fault(s):\n" + "\n".join(f"  - {fault}" for fault in faults))
    return typing.cast("T", value)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"an override must be key=value, but is {override!r} instead (e.g. pretrain.budget.hours=2)")
    *parents, last = key.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise UsageError(f"override {override!r}: {parent!r} is a value, not a section")
        tree = branch
    try:
        tree[last] = yaml.load(text, _Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise UsageError(
            f"override {override!r}: its value is not valid YAML ({' '.join(str(error).split())}); put it in quotes"
        ) from error


def _dataclass(kind: Any, tree: Any, where: str, faults: list[str], base: Any = None) -> Any:
    """Make a ``kind`` from a mapping; what it leaves out comes from ``base``, the enclosing section's default."""
    if not isinstance(tree, Mapping):
        faults.append(f"{where or 'the file'}: must be a section of keys and values, but is {tree!r} instead")
        return None
    known = len(faults)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {} if base is None else {name: getattr(base, name) for name in fields}
    presets: Mapping[str, Mapping[str, Any]] = getattr(kind, "PRESETS", {})
    if presets and (base is None or "size" in tree):
        size = tree.get("size", fields["size"].default)
        values.update(presets.get(size, {}) if isinstance(size, str) else {})
    for key, value in tree.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in fields:
            faults.append(f"{name}: unknown key; known here: {', '.join(sorted(fields))}")
        else:
            values[key] = _value(hints[key], value, name, faults, _default(fields[key]))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            faults.append(f"{where + '.' if where else ''}{name}: missing; it has no default")
    if len(faults) > known:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        faults.append(f"{where or 'the file'}: {error}")
        return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _value(hint: Any, value: Any, where: str, faults: list[str], base: Any = None) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where, faults, base)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if value is None and len(options) < len(typing.get_args(hint)):
            return None
        trials: list[list[str]] = []
        for option in options:
            trial: list[str] = []
            made = _value(option, value, where, trial, base)
            if not trial:
                return made
            trials.append(trial)
        faults.extend(_one_of(trials, f"{where}: must be ", f", but is {value!r} instead"))
        return None
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        known = ", ".join(map(str, typing.get_args(hint)))
        several = "one of " if len(typing.get_args(hint)) > 1 else ""
        faults.append(f"{where}: must be {several}{known}, but is {value!r} instead")
        return None
    if origin is tuple:
        if not isinstance(value, list | tuple):
            faults.append(f"{where}: must be a list, but is {value!r} instead")
            return None
        item, *rest = typing.get_args(hint)
        if rest and rest[0] is not Ellipsis and len(value) != 1 + len(rest):
            faults.append(f"{where}: must have {1 + len(rest)} items, but has {len(value)} instead")
        return tuple(_value(item, element, f"{where}[{index}]", faults) for index, element in enumerate(value))
    return _scalar(hint, value, where, faults)


def _one_of(trials: Sequence[list[str]], begins: str, ends: str) -> list[str]:
    """Return the faults of a value that is none of several kinds: one, where each kind has one to say what it wants."""
    wanted = [trial[0].removeprefix(begins).removesuffix(ends) for trial in trials if len(trial) == 1]
    if [[begins + each + ends] for each in wanted] == list(trials):
        return [begins + " or ".join(wanted) + ends]
    return min(trials, key=len)


def _scalar(hint: Any, value: Any, where: str, faults: list[str]) -> Any:
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            number = math.inf
        if math.isfinite(number):
            return number
        faults.append(f"{where}: must be a finite number, but is {value!r} instead")
        return None
    if hint in (int, str, bool) and type(value) is hint:
        return value
    name = {Path: "a path", float: "a number", int: "a whole number", str: "text", bool: "true or false"}[hint]
    faults.append(f"{where}: must be {name}, but is {value!r} instead")
    return None


def to_tree(config: Any) -> Any:
    """Return a config as plain dictionaries and lists, ready for YAML or JSON; the inverse of :func:`build_config`."""
    if dataclasses.is_dataclass(config):
        return {
            field.name: to_tree(getattr(config, field.name))
            for field in dataclasses.fields(config)
            if not (field.metadata.get("later") and getattr(config, field.name) == _default(field))
        }
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, tuple | list):
        return [to_tree(item) for item in config]
    return config
