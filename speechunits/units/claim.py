"""Which texts of a folder one model and its options made: another's are never taken for done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechunits.audio.load import printable
from speechunits.audio.written import EARLIER, OTHERS, RECORDS, TEXTS, is_claimed, read_record
from speechunits.errors import UsageError
from speechunits.run import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a command says of the texts it is about to write."""

    record: str
    """One of ``speechunits.audio.written.RECORDS``."""
    key: str
    """Equal model and options, equal key."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Stored beside the key, for people."""


@contextmanager
def claimed(
    out: Path | None,
    claim: Claim | None,
    names: Collection[str],
    suffixes: Sequence[str],
    *,
    overwrite: bool,
    done: Sequence[str],
) -> Iterator[None]:
    """Record in ``out`` what the texts ``NAME + SUFFIX`` are made by that are written meanwhile.

    Texts of another key stay listed as another's until they are written again: at the end those in ``done`` are taken
    off the list, so that what was overwritten in part, or by a run that was interrupted, is never taken for done.
    What is written is listed too, before it is there, so that it is never taken for what somebody has transcribed.
    Nothing is claimed without a folder, or without a claim.

    Raises
    ------
    UsageError
        If, without ``overwrite``, the record is of another key, a text of ``names`` is listed as another's, or there
        are texts and no record: perhaps somebody's own annotations. If a record is damaged.
    """
    if out is None or claim is None:
        yield
        return
    _begin(out, claim, {name + suffix for name in names for suffix in suffixes}, suffixes, overwrite=overwrite)
    try:
        yield
    finally:
        _settle(out, claim, {name + suffix for name in done for suffix in suffixes})


def _begin(out: Path, claim: Claim, inputs: Collection[str], suffixes: Sequence[str], *, overwrite: bool) -> None:
    shown, said = printable(out), _read(out / claim.record)
    if said is not None and said["key"] == claim.key:
        met = [name for name in said[OTHERS] if name in inputs and (out / name).exists()]
        if met and not overwrite:
            raise UsageError(
                f"{shown} holds texts of another model, format or option among these inputs ({len(met)}, first "
                f"{printable(met[0])}): it was overwritten only in part; add --overwrite, or name another folder"
            )
        if TEXTS in said:
            _list(out, claim, said, texts=_absent(out, inputs))
        return
    others = _texts(out, suffixes)
    if said is not None and not overwrite:
        raise UsageError(
            f"{shown} holds texts of another model, format or option; add --overwrite, or name another folder"
        )
    if others and not overwrite:
        raise UsageError(
            f"{shown} holds {' or '.join(suffixes)} files ({len(others)}, first {printable(others[0])}) that no record "
            "says were made here: somebody's own? Name another folder, or add --overwrite"
        )
    records = [said for said in map(read_record, (out / name for name in RECORDS)) if said is not None]
    earlier = [name for name in others if any(is_claimed(said, name) for said in records)]
    # Another command's record of files that may now be replaced is not to be believed any more.
    for name in RECORDS if others else ():
        (out / name).unlink(missing_ok=True)
    said = {**claim.about, "key": claim.key, OTHERS: others, EARLIER: earlier, TEXTS: _absent(out, inputs)}
    write_json(out / claim.record, said)


def _absent(out: Path, names: Collection[str]) -> list[str]:
    """Return the texts that are not there yet: what is may be somebody's own until it is written again."""
    return sorted(name for name in names if not (out / name).exists())


def _settle(out: Path, claim: Claim, written: AbstractSet[str]) -> None:
    said = _read(out / claim.record)
    # Two commands may share a folder: what the record says now counts.
    if said is not None and said["key"] == claim.key:
        _list(out, claim, said, texts=written if TEXTS in said else (), written=written)


def _list(
    out: Path, claim: Claim, said: Mapping[str, Any], *, texts: Iterable[str], written: AbstractSet[str] = frozenset()
) -> None:
    """Add ``texts`` to those of a record, and take what is ``written`` off the lists of others'."""
    lists: dict[str, Collection[str]] = {
        name: [other for other in said[name] if other not in written] for name in (OTHERS, EARLIER) if name in said
    }
    if TEXTS in said:
        lists[TEXTS] = sorted({*said[TEXTS], *texts})
    if any(list(said[name]) != list(names) for name, names in lists.items()):
        write_json(out / claim.record, {**said, **lists})


def _texts(out: Path, suffixes: Sequence[str]) -> list[str]:
    return sorted(
        path.relative_to(out).as_posix()
        for suffix in suffixes for path in out.rglob(f"*{suffix}") if not path.name.startswith(".")
    )  # fmt: skip


def _read(record: Path) -> dict[str, Any] | None:
    """Return what a record says; None where there is none. One of before there were lists has an empty one."""
    if not record.exists():
        return None
    try:
        said = read_json(record)
        return {**said, "key": said["key"], OTHERS: list(said.get(OTHERS, ()))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{printable(record)} must be a record of what made the texts beside it, but is damaged "
            f"({type(error).__name__}); remove it and add --overwrite, or name another folder"
        ) from error
