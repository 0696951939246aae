"""Transcripts from the tiers of ELAN and Praat files: one row an annotation."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from speechunits.audio.annotation import SUFFIXES, Annotation, AnnotationFile, read_annotations
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
    has its name, with ``a.eaf`` below ``labels`` itself. Recordings without such a file, or one that can be used, stay
    as they are. Refused, each by name: files that cannot be read or lack the tier, annotations that overlap the one
    before, lie before the start or past the end of the recording, or last less than a millisecond of it. Empty
    annotations are left out, and files of no recording not read, with a warning.

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
    unlabelled: list[Recording] = []
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
            unlabelled.append(recording)
            rows.append(recording)
            continue
        try:
            file = read_annotations(path)
            annotations = sorted(file.tier(tier))
        except InputRefused as error:
            shown = printable(path)
            refusals.append(f"{shown}: {str(error).removeprefix(f'{shown}: ')}")
            rows.append(recording)
            continue
        name = printable(path.relative_to(labels))
        annotations = _from_zero(annotations, file, recording, name, warnings)
        rows += _rows(recording, annotations, name, refusals, warnings)
    unread = [f"{printable(place)}: {reason}" for place, reason in files.unread.items()]
    if len(unlabelled) == len(recordings):
        raise UsageError(
            f"{printable(labels)} holds no {' or '.join(SUFFIXES)} named like any recording; files must have the names "
            "of the recordings but for their suffix" + "".join(f"\n  - {reason}" for reason in unread)
        )
    refusals += unread
    if silent := sum(not recording.text for recording in unlabelled):
        warnings.append(f"{silent} of {len(recordings)} recordings have no annotation file: they are without text")
    warnings += files.leftover([recording.audio.relative_to(folder) for recording in recordings], flat=True)
    return rows, refusals, warnings


def _from_zero(
    annotations: list[Annotation], file: AnnotationFile, recording: Recording, shown: str, warnings: list[str]
) -> list[Annotation]:
    """Return annotations with times that count from the recording's start, as far as it is known where theirs begin.

    A TextGrid of a part that was cut out may keep the times of the whole: it is as long as the recording, but does not
    end where the recording does. What ELAN's origins mean for times is for people to see: they are named.
    """
    origins_s = file.origins_s
    own = {name: origin_s for name, origin_s in origins_s.items() if composed(name) == composed(recording.audio.name)}
    warnings += [
        f"{shown}: {printable(name)} has an origin of {origin_s:g} s (TIME_ORIGIN), which is not counted in; compare "
        "the first annotations with the recording, and if they are off, set the origin to 0 in ELAN, and shift them"
        for name, origin_s in (own or origins_s).items()
        if origin_s
    ]
    if abs(file.start_s) <= DURATION_TOLERANCE_S or file.duration_s is None:
        return annotations
    length_s, start_s = file.duration_s - file.start_s, file.start_s
    if abs(length_s - recording.duration_s) <= DURATION_TOLERANCE_S < abs(file.duration_s - recording.duration_s):
        return [Annotation(row.start_s - start_s, row.end_s - start_s, row.text) for row in annotations]
    warnings.append(
        f"{shown}: its times go from {start_s:g} s to {file.duration_s:g} s, but the recording lasts "
        f"{recording.duration_s:.3f} s; they are taken as they are"
    )
    return annotations


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
        elif annotation.start_s < 0:
            refusals.append(f"{where} begins before the recording does; correct its times")
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
    if not rows:
        warnings.append(f"{shown}: its tier holds no annotation to use; the recording stays whole, as it was")
    return rows or [recording]
