"""fairseq's manifests: a root line, then ``path<TAB>samples``, with ``.wrd`` or ``.ltr`` transcripts beside them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from speechunits.audio.load import printable
from speechunits.audio.manifest import Recording, raise_faults
from speechunits.errors import UsageError
from speechunits.frames import SAMPLE_RATE_HZ


def is_fairseq(path: Path) -> bool:
    """Tell a fairseq manifest from ours: its first line is a folder, without tabs."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(first.strip()) and "\t" not in first


def read_fairseq(path: Path, *, root: Path | None = None, split: str | None = None) -> list[Recording]:
    """Read a fairseq ``.tsv`` with the ``.wrd`` (words) or else ``.ltr`` (letters, ``|`` between words) beside it.

    ``root`` replaces the folder named in the first line; ``split`` is by default the file's name (``train.tsv``).
    Durations are the listed samples at 16 kHz, fairseq's rate; ``check_durations`` corrects other rates.

    Raises
    ------
    UsageError
        If a file cannot be read, a row is malformed or the transcripts are not one a row: all faults are named.
    """
    first, *rows = text_lines(path) or [""]
    if not first.strip():
        raise UsageError(
            f"{printable(path)} must begin with the folder of its recordings, but its first line is empty; is it "
            "fairseq's list?"
        )
    base = root if root is not None else path.parent / first
    texts = _texts(path)
    faults = []
    if texts is not None and len(texts) != len(rows):
        faults.append(f"the transcript must have {len(rows)} lines, one a recording, but has {len(texts)} instead")
    recordings, seen = [], set()
    for index, row in enumerate(rows):
        name, _, samples = row.partition("\t")
        if not name or not samples.isascii() or not samples.isdigit():
            faults.append(f"line {index + 2}: must be a path, a tab and a number of samples, but is {row!r} instead")
            continue
        if name in seen:
            faults.append(f"line {index + 2}: the path {name!r} must be unique")
        seen.add(name)
        recordings.append(
            Recording(
                id=Path(name).with_suffix("").as_posix().replace("/", "_"), audio=base / name,
                duration_s=int(samples) / SAMPLE_RATE_HZ, split=split or path.stem,
                text=texts[index] if texts is not None and index < len(texts) else None,
            )
        )  # fmt: skip
    raise_faults(path, faults)
    return recordings


def _texts(path: Path) -> list[str] | None:
    words, letters = path.with_suffix(".wrd"), path.with_suffix(".ltr")
    if words.exists():
        lines = text_lines(words)
    elif letters.exists():
        lines = [" ".join(line.replace(" ", "").replace("|", " ").split()) for line in text_lines(letters)]
    else:
        return None
    return [unicodedata.normalize("NFC", " ".join(line.split())) for line in lines]


def text_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file, whatever they end in. Raises UsageError where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{printable(path)} must be UTF-8 text, but is not: {error}; save it as UTF-8") from error
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
