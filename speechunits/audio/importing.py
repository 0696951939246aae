"""Recordings as people have them into a manifest: folders, corpora with a card, fairseq's and Kaldi's lists."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from speechunits.audio.annotation import SUFFIXES
from speechunits.audio.beside import Beside
from speechunits.audio.card import card_manifest, read_card
from speechunits.audio.fairseq_manifest import read_fairseq
from speechunits.audio.kaldi import is_kaldi, read_kaldi
from speechunits.audio.labels import labelled
from speechunits.audio.load import AudioInfo, printable, verify
from speechunits.audio.manifest import Recording, check_durations, is_manifest, nameable, write_manifest
from speechunits.audio.scan import scan
from speechunits.audio.segment import segmented
from speechunits.audio.split import cut_tune, split
from speechunits.errors import InputRefused, UsageError
from speechunits.progress import Advance, progress


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How recordings become rows."""

    card: Path | None = None
    """Read the folder as the corpus that this card describes."""
    segment: bool = False
    """Cut recordings of more than 15 s at pauses."""
    labels: Path | None = None
    """Folder of transcripts: ``.txt``, or with ``tier`` ELAN and Praat files."""
    tier: str | None = None
    seed: int = 0


def make_manifest(folder: Path, out: Path, options: ImportOptions) -> list[str]:
    """Write the manifest of a folder, split by the protocol; returns the refusals, each already named on stderr.

    Raises
    ------
    UsageError
        If options do not fit together, or there is no recording: nothing is written.
    InputRefused
        If all are refused.
    """
    _check(folder, options)
    faults: list[str] = []
    warnings: list[str] = []
    recordings, refusals = nameable(out, _read(folder, options, faults, warnings))
    _name(refusals, faults)
    if options.segment:
        with progress("segmenting", 1.0) as advance:
            recordings, refusals, notes = segmented(recordings, options.seed, on_progress=advance)
        _name(refusals, faults)
        warnings += notes
    if not recordings and faults:
        raise InputRefused(
            f"{printable(folder)} holds no usable recording, all was refused ({len(faults)} faults, named above); "
            "nothing was written"
        )
    if not recordings:
        raise UsageError(f"{printable(folder)} holds no recording; nothing was written")
    recordings, split_warnings = split(recordings, options.seed)
    for warning in [*warnings, *split_warnings]:
        print(f"warning: {warning}", file=sys.stderr)
    _write(out, cut_tune(recordings, options.seed))
    kind = "rows" if options.segment or options.tier else "recordings"
    hours = sum(row.duration_s for row in recordings) / 3600
    print(f"{out}: {len(recordings)} {kind}, {hours:.2f} h, {len(faults)} refused", file=sys.stderr)
    return faults


def _write(out: Path, recordings: Sequence[Recording]) -> None:
    """Write the manifest; one that is there and says something else, such as speakers by hand, is kept beside it."""
    kept = None
    if out.exists():
        changed = datetime.fromtimestamp(out.stat().st_mtime)
        kept = out.with_name(f"{out.stem}.{changed:%Y-%m-%dT%H%M%S}{out.suffix}")
        shutil.copy2(out, kept)
    try:
        write_manifest(out, recordings)
    except BaseException:
        if kept is not None:
            kept.unlink()
        raise
    if kept is not None and kept.read_bytes() == out.read_bytes():
        kept.unlink()
    elif kept is not None:
        print(f"warning: {printable(out)} was there already, and said something else: that is kept as "
              f"{printable(kept)}", file=sys.stderr)  # fmt: skip


def _name(refusals: Iterable[str], faults: list[str]) -> None:
    """Print refusals as soon as they are known: what is wrong next may be an error."""
    for refusal in refusals:
        print(f"refused: {refusal}", file=sys.stderr)
        faults.append(refusal)


def _check(folder: Path, options: ImportOptions) -> None:
    if options.tier is not None and options.labels is None:
        raise UsageError("--tier names a tier of annotation files; name their folder with --labels")
    if options.tier is not None and options.segment:
        raise UsageError("--tier already cuts recordings at their annotations; leave out --segment, or --tier")
    if options.labels is not None and not options.labels.is_dir():
        raise UsageError(f"{printable(options.labels)} must be a folder of transcripts, but is not; check the path")
    if options.card is None and folder.suffix == ".tsv" and is_manifest(folder):
        raise UsageError(
            f"{printable(folder)} is a manifest already, and is not read as fairseq's list; name the folder of its "
            "recordings instead, to verify, cut or split them anew"
        )
    plain = options.card is None and folder.suffix != ".tsv" and not is_kaldi(folder)
    if options.labels is not None and not plain:
        raise UsageError("--labels goes with a folder of recordings; this source has transcripts of its own")


def _read(folder: Path, options: ImportOptions, faults: list[str], warnings: list[str]) -> list[Recording]:
    """Return the recordings; refusals are printed and added to ``faults``."""
    if options.card is not None:
        return card_manifest(read_card(options.card), folder)
    if folder.suffix == ".tsv" and not folder.is_dir():
        listed = read_fairseq(folder)
        with progress("verifying", len(listed)) as advance:
            recordings, corrected, refused = check_durations(listed, look=lambda path: _verified(path, advance))
        _name(map(str, refused), faults)
        warnings += corrected
        return recordings
    if is_kaldi(folder):
        recordings, refusals, notes = read_kaldi(folder)
        _name(refusals, faults)
        warnings += notes
        return recordings
    plain = options.labels if options.tier is None else None
    with progress("scanning", 1.0) as advance:
        found = scan(folder, labels=plain, on_progress=advance)
    _name(map(str, found.faults), faults)
    warnings += found.warnings
    if plain is not None:
        _check_matched(plain, found.recordings, folder)
    if options.labels is None or options.tier is None:
        return found.recordings
    rows, refusals, notes = labelled(found.recordings, folder, options.labels, options.tier)
    _name(refusals, faults)
    if refusals and all(row.start_s is None for row in rows):
        raise InputRefused(
            f"{printable(options.labels)} holds no usable annotation in tier {options.tier!r}, all was refused "
            f"({len(refusals)} faults, named above); nothing was written"
        )
    warnings += notes
    return rows


def _verified(path: Path, advance: Advance) -> AudioInfo:
    try:
        return verify(path)
    finally:
        advance(1, "")


def _check_matched(labels: Path, recordings: Sequence[Recording], folder: Path) -> None:
    """Raise UsageError where no transcript below ``labels`` is one of a recording."""
    places = [row.audio.relative_to(folder) for row in recordings]
    texts, tiers = Beside(labels, (".txt",)), Beside(labels, SUFFIXES)
    if not places or any(texts.find(place) for place in places):
        return
    if any(tiers.find(place) or tiers.find(Path(place.name)) for place in places):
        raise UsageError(
            f"{printable(labels)} holds {' or '.join(SUFFIXES)} files of these recordings: name their tier with --tier"
        )
    raise UsageError(
        f"{printable(labels)} holds no .txt named like any recording, in the same sub-folders; files must have the "
        "names of the recordings but for their suffix"
    )
