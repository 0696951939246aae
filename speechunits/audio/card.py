"""Cards of corpora: what they are, their licence, how to get them, and how their folders become a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechunits.audio.layouts import read_common_voice, read_libri, read_own
from speechunits.audio.load import printable
from speechunits.audio.manifest import Recording
from speechunits.config import load_config
from speechunits.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CardPart:
    """A named part of a corpus."""

    name: str
    """A split (``train``, ``dev``, ``test``), or the name of a list."""
    sources: tuple[str, ...]
    """Folders or files below the corpus's root that make it."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One corpus."""

    name: str
    title: str
    source: str
    """Where it comes from: an address."""
    licence: str
    citation: str
    get: str
    """How to get it, as instructions for a person."""
    languages: tuple[str, ...]
    """BCP 47 tags."""
    layout: Literal["manifest", "libri", "common_voice"]
    """How its folders are read: our own manifest; speaker/chapter/*.flac with *.trans.txt; Mozilla's TSV files."""
    splits: tuple[CardPart, ...]
    lists: tuple[CardPart, ...] = ()
    """Published lists of labelled train recordings, from small to large; each holds those before it."""
    manifest: str | None = None
    """Manifest below the root, for the layout ``manifest``."""
    phones: str | None = None
    """Phone alignment below the root."""


def read_card(path: Path) -> Card:
    """Read a card.

    Raises
    ------
    UsageError
        If the file cannot be read or has faults: all of them are named.
    """
    return load_config(Card, path, noun="card", shelf="data_manifests/")


def card_manifest(card: Card, root: Path, *, part: str | None = None) -> list[Recording]:
    """Return the recordings of a corpus as it was downloaded to ``root``; of one published list if ``part`` names it.

    Raises
    ------
    UsageError
        If the corpus is not there (with the card's instructions), ``part`` is unknown, or files are faulty: all named.
    """
    if not root.is_dir():
        raise UsageError(f"{printable(root)} does not exist. {absent_message(card)}")
    lists = {known.name: CardPart(name="train", sources=known.sources) for known in card.lists}
    if part is not None and part not in lists:
        raise UsageError(f"the list must be one of {', '.join(lists) or 'none'}, but is {part!r} instead")
    chosen = card.splits if part is None else (lists[part],)
    parts = {known.name: known.sources for known in chosen}
    if card.layout == "manifest":
        recordings = read_own(root / (card.manifest or "manifest.tsv"), [*parts])
    elif card.layout == "libri":
        recordings = read_libri(root, parts)
    else:
        recordings = read_common_voice(root, parts)
    if not recordings:
        wanted = ", ".join(source for sources in parts.values() for source in sources) or card.manifest
        raise UsageError(f"{printable(root)} holds none of {wanted}. {absent_message(card)}")
    return recordings


def absent_message(card: Card) -> str:
    """Return what to do when the corpus is not there."""
    return (
        f"{card.title} is not part of this project and must be fetched by you ({card.licence}; {card.source}).\n"
        f"{card.get.strip()}"
    )
