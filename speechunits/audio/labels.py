"""Transcripts from the tiers of ELAN and Praat files: one row an annotation."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from speechunits.audio.annotation import SUFFIXES, Annotation, read_annotations
from speechunits.audio.beside import Beside, composed
from speechunits.audio.load import printable
from speechunits.audio.manifest import DURATION_TOLERANCE_S, Recording
from speechunits.audio.segment import part_of
from speechunits.errors import InputRefused, UsageError

_SHORTEST_S = 0.001
"""Rows are named by milliseconds, and a manifest holds tenths of them."""


def labelled(
    recordings: Sequence[Recording], folder: Path, labels: Path, tier: str
) -> tuple[list[Recording], list[str], list[str]]:
    """Return a row for every annotation in ``tier`` of the files below ``labels``, refusals, and warnings.

    A recording ``sub/a.wav`` below ``folder`` goes with ``sub/a.eaf`` or ``sub/a.TextGrid``, or, if no other recording
    has its name, with ``a.eaf`` below ``labels`` itself. Recordings without such a file stay whole and without text.
    Refused, each by name: files that cannot be read or lack the tier (all of the recording), annotations that overlap
    the one before, lie past the end of the recording or last less than a millisecond of it. Empty annotations are left
    out with a warning.

    Raises
    ------
    UsageError
        If ``labels`` is no folder, or holds labels of no recording.
    """
    if not labels.is_dir():
        raise UsageError(f"{printable(labels)} must be a folder of {' or '.join(SUFFIXES)} files, but is not")
    rows: list[Recording] = []
    refusals: list[str] = []
    warnings: list[str] = []
    unlabelled = 0
    files = Beside(labels, SUFFIXES)
    names = Counter(composed(recording.audio.stem) for recording in recordings)
    for recording in recordings:
        place = recording.audio.relative_to(folder)
        path, flat = files.find(place), files.find(Path(place.name))
        if path is None and names[composed(place.stem)] == 1:
            path = flat
        if path is None:
            if flat is not None:
                warnings.append(
                    f"{printable(place)}: {printable(flat.relative_to(labels))} is not taken for its labels, since "
                    f"{names[composed(place.stem)]} recordings have this name; put it into the same sub-folder"
                )
            unlabelled += 1
            rows.append(recording)
            continue
        try:
            annotations = read_annotations(path).tier(tier)
        except InputRefused as error:
            shown = printable(path)
            refusals.append(f"{shown}: {str(error).removeprefix(f'{shown}: ')}")
            continue
        rows += _rows(recording, sorted(annotations), printable(path.relative_to(labels)), refusals, warnings)
    unread = [f"{printable(place)}: {reason}" for place, reason in files.unread.items()]
    if unlabelled == len(recordings):
        raise UsageError(
            f"{printable(labels)} holds no {' or '.join(SUFFIXES)} named like any recording; files must have the names "
            "of the recordings but for their suffix" + "".join(f"\n  - {reason}" for reason in unread)
        )
    refusals += unread
    if unlabelled:
        warnings.append(f"{unlabelled} of {len(recordings)} recordings have no annotation file: they are without text")
    return rows, refusals, warnings


def _rows(
    recording: Recording, annotations: Sequence[Annotation], shown: str, refusals: list[str], warnings: list[str]
) -> list[Recording]:
    rows: list[Recording] = []
    empty: list[Annotation] = []
    before: Annotation | None = None
    for annotation in annotations:
        text = unicodedata.normalize("NFC", " ".join(annotation.text.split()))
        end_s = min(annotation.end_s, recording.duration_s)
        where = f"{shown}: {annotation.start_s:g}-{annotation.end_s:g} s"
        if not text:
            empty.append(annotation)
        elif annotation.end_s <= annotation.start_s:
            refusals.append(f"{where} lasts no time; correct its times")
        elif annotation.end_s > recording.duration_s + DURATION_TOLERANCE_S:
            refusals.append(f"{where} lies past the recording's end at {recording.duration_s:.3f} s; is it of another?")
        elif end_s - annotation.start_s < _SHORTEST_S:
            refusals.append(
                f"{where} lasts less than a millisecond of the recording, which ends at {recording.duration_s:.3f} s; "
                "correct its times"
            )
        elif before is not None and annotation.start_s < before.end_s - 1e-6:
            refusals.append(
                f"{where} overlaps {before.start_s:g}-{before.end_s:g} s, and is left out; correct its times"
            )
        else:
            before = annotation
            rows.append(part_of(recording, annotation.start_s, end_s, text))
    if empty:
        first = empty[0]
        warnings.append(
            f"{shown}: {len(empty)} empty annotations are left out, the first at {first.start_s:g}-{first.end_s:g} s"
        )
    return rows
