"""Recordings as people have them into a manifest: folders, corpora with a card, fairseq's and Kaldi's lists."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from speechunits.audio.card import card_manifest, read_card
from speechunits.audio.fairseq_manifest import read_fairseq
from speechunits.audio.kaldi import is_kaldi, read_kaldi
from speechunits.audio.labels import labelled
from speechunits.audio.manifest import Recording, check_durations, write_manifest
from speechunits.audio.scan import scan
from speechunits.audio.segment import segmented
from speechunits.audio.split import cut_tune, split
from speechunits.errors import UsageError
from speechunits.progress import progress


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
        If options do not fit together, or no recording is usable: nothing is written.
    """
    _check(folder, options)
    recordings, faults, warnings = _read(folder, options)
    if options.segment:
        with progress("segmenting", 1.0) as advance:
            recordings, notes = segmented(recordings, options.seed, on_progress=advance)
        warnings += notes
    for fault in faults:
        print(f"refused: {fault}", file=sys.stderr)
    if not recordings:
        raise UsageError(f"{folder} holds no usable recording; nothing was written")
    recordings, split_warnings = split(recordings, options.seed)
    for warning in [*warnings, *split_warnings]:
        print(f"warning: {warning}", file=sys.stderr)
    write_manifest(out, cut_tune(recordings, options.seed))
    print(f"{out}: {len(recordings)} recordings, {sum(row.duration_s for row in recordings) / 3600:.2f} h, "
          f"{len(faults)} refused", file=sys.stderr)  # fmt: skip
    return faults


def _check(folder: Path, options: ImportOptions) -> None:
    if options.tier is not None and options.labels is None:
        raise UsageError("--tier names a tier of annotation files; name their folder with --labels")
    if options.tier is not None and options.segment:
        raise UsageError("--tier already cuts recordings at their annotations; leave out --segment, or --tier")
    plain = options.card is None and folder.suffix != ".tsv" and not is_kaldi(folder)
    if options.labels is not None and not plain:
        raise UsageError("--labels goes with a folder of recordings; this source has transcripts of its own")


def _read(folder: Path, options: ImportOptions) -> tuple[list[Recording], list[str], list[str]]:
    """Return recordings, refusals and warnings."""
    if options.card is not None:
        return card_manifest(read_card(options.card), folder), [], []
    if folder.suffix == ".tsv":
        recordings, corrected, refused = check_durations(read_fairseq(folder))
        return recordings, [str(error) for error in refused], list(corrected)
    if is_kaldi(folder):
        return *read_kaldi(folder), []
    with progress("scanning", 1.0) as advance:
        found = scan(folder, labels=options.labels if options.tier is None else None, on_progress=advance)
    faults = [str(fault) for fault in found.faults]
    if options.labels is None or options.tier is None:
        return found.recordings, faults, []
    rows, refusals, warnings = labelled(found.recordings, folder, options.labels, options.tier)
    return rows, faults + refusals, warnings
