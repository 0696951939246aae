"""The folders of published corpora, as they are after unpacking, into recordings."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechunits.audio.fairseq_manifest import text_lines
from speechunits.audio.load import printable, probe
from speechunits.audio.manifest import Recording, raise_faults, read_manifest, read_table
from speechunits.errors import InputRefused

_MOST_FAULTS = 50
"""Faults listed one by one before the rest are only counted."""


def read_own(manifest: Path, splits: Sequence[str]) -> list[Recording]:
    """Return the rows of our own kind of manifest that are in one of ``splits``; raises UsageError as read_manifest."""
    return [recording for recording in read_manifest(manifest) if recording.split in splits]


def read_libri(root: Path, parts: Mapping[str, Sequence[str]]) -> list[Recording]:
    """Read LibriSpeech's layout: ``SOURCE/…/SPEAKER/CHAPTER/*.flac`` with ``*.trans.txt`` beside them.

    ``parts`` maps splits to folders below ``root``; folders that are not there are left out. Text is in lower case.

    Raises
    ------
    UsageError
        If recordings are undecodable or lack their transcript: all are named.
    """
    recordings, faults = [], []
    for split, sources in parts.items():
        for source in sources:
            for path in sorted((root / source).rglob("*.trans.txt")):
                for line in filter(str.strip, text_lines(path)):
                    identifier, _, text = line.partition(" ")
                    audio, speaker = path.parent / f"{identifier}.flac", path.parent.parent.name
                    recordings.append(
                        Recording(id=identifier, audio=audio, duration_s=0.0, speaker=speaker, split=split,
                                  text=unicodedata.normalize("NFC", text.strip().lower()) or None)
                    )  # fmt: skip
            transcribed = {recording.audio for recording in recordings}
            faults += [
                f"{printable(path)}: its folder's .trans.txt has no line for it"
                for path in sorted((root / source).rglob("*.flac"))
                if path not in transcribed
            ]
    return _measured(root, recordings, faults)


def read_common_voice(root: Path, parts: Mapping[str, Sequence[str]]) -> list[Recording]:
    """Read Common Voice's layout: ``train.tsv`` and so on, with ``clips/*.mp3``; the speaker is the start of client_id.

    Raises
    ------
    UsageError
        If a table is malformed or clips are missing or undecodable: all are named.
    """
    recordings, faults = [], []
    for split, sources in parts.items():
        for source in sources:
            if not (root / source).exists():
                continue
            rows, wrong = read_table(root / source, ("client_id", "path", "sentence"))
            faults += [f"{source}, {fault}" for fault in wrong]
            for _, row in rows:
                # Older releases name the clips without their suffix.
                name = row["path"] if row["path"].endswith(".mp3") else f"{row['path']}.mp3"
                recordings.append(
                    Recording(id=name.removesuffix(".mp3"), audio=root / "clips" / name, duration_s=0.0,
                              speaker=row["client_id"][:16], split=split,
                              text=unicodedata.normalize("NFC", row["sentence"].strip()) or None)
                )  # fmt: skip
    return _measured(root, recordings, faults)


def _measured(root: Path, recordings: Sequence[Recording], faults: list[str]) -> list[Recording]:
    """Return the recordings with their durations from the files' headers, each id once (the first split has it)."""
    measured: dict[str, Recording] = {}
    for recording in recordings:
        if recording.id in measured:
            continue
        try:
            measured[recording.id] = replace(recording, duration_s=probe(recording.audio).duration_s)
        except InputRefused as error:
            faults.append(str(error))
    if len(faults) > _MOST_FAULTS:
        faults = [*faults[:_MOST_FAULTS], f"and {len(faults) - _MOST_FAULTS} more"]
    raise_faults(root, faults)
    return list(measured.values())
