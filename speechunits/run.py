"""Run folders: atomic writes, one process at a time, and what made each output written beside it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from speechunits import __version__
from speechunits.config import to_tree
from speechunits.errors import InputRefused, UsageError

_LEAST_ROOM = 1 << 16
"""Bytes left on a disk that is full: less than what is written at a time."""
_NAME_BYTES = 255
"""Of a file's name, on most file systems."""


def name_fits(path: Path) -> bool:
    """Tell whether file systems take every name in a path: they count bytes, and a letter may be several."""
    return all(len(os.fsencode(part)) <= _NAME_BYTES for part in path.parts)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed to disk and renamed, on failure removed.

    A reader never sees half a file, and a full disk or kill -9 leaves the previous one in place. Of a link, the file it
    leads to is written.

    Raises
    ------
    UsageError
        If there can be no such file: the name is too long, a folder or a device has it, or a file has that of a folder
        above it; or if the one that is there may not be written to.
    OSError
        If it cannot be written, with the name of ``path``. A full disk is ENOSPC, whoever noticed it.
    """
    # A link would be replaced, and not what it leads to.
    path = path.resolve() if os.path.islink(path) else path  # noqa: PTH114 - Path.is_symlink raises for long names
    _make_parent(path)
    # The suffix stays last: some writers (soundfile, matplotlib) choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    if not name_fits(temporary):
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
        suffix = path.suffix if len(os.fsencode(path.suffix)) < 32 else ""
        temporary = path.with_name(f".{name}.{os.getpid()}.part{suffix}")
    try:
        with full_disk_named(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        # Whoever asked for the file knows nothing of the temporary one.
        if error.filename is not None and Path(os.fsdecode(error.filename)) == temporary:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _make_parent(path: Path) -> None:
    _check_name(path)
    make_folder(path.parent)


def check_writable(path: Path) -> None:
    """Check that a file can be written, before the work that would be in vain; nothing is made.

    Raises
    ------
    UsageError
        If there can be no such file, as in :func:`atomic_path`, or its folder may not be written into.
    """
    _check_name(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"{_shown(above)} must be a folder, but a file is in its place; name another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {_shown(path)}: {_shown(above)} may not be written into; name another folder")


def _check_name(path: Path) -> None:
    if not name_fits(path):
        raise UsageError(
            f"{_shown(path)}: a name of it is longer than {_NAME_BYTES} bytes, which no file may have; shorten it"
        )
    if path.is_dir():
        raise UsageError(f"{_shown(path)} must be a file, but is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"{_shown(path)} must be a file, but is a device or a pipe; name a file")
    # A file may be replaced wherever its folder may be written into, but whoever protected it did not want that.
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{_shown(path)} is there already, and may not be written to; name another file")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it. Raises UsageError where a file is in the place of one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{_shown(folder)} must be a folder, but a file is in its place; name another") from error


def path_inside(folder: Path, name: str) -> Path:
    """Return the path of a name that came with the data. Raises InputRefused where it would lead out of the folder."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise InputRefused(f"the name {_shown(name)!r} would lead out of {_shown(folder)}; rename it in its file")
    return folder / name


def _shown(path: Path | str) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Raise OSError (ENOSPC) with the name of ``path`` where writing it fails since there is no room left."""
    try:
        yield
    except Exception as error:
        if _disk_is_full(error, path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _disk_is_full(error: Exception, path: Path) -> bool:
    # safetensors says so in words alone, and libsndfile says only that the system refused: then the room is looked at.
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = str(error).lower()
    if said.startswith("system error"):
        return shutil.disk_usage(path.parent).free < _LEAST_ROOM
    return os.strerror(errno.ENOSPC).lower() in said


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused, since other readers cannot read it."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(*parts: Any) -> str:
    """Return a short key of JSON-serialisable values: equal content, equal key."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit() -> str:
    """Return the commit of the source tree (``-dirty`` with local changes), or ``unknown`` outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        # Tests and pipelines run in other repositories: ask about the folder of this file only. And where the package
        # is installed below another project's checkout, that project's commit says nothing of it.
        if Path(_git(here, "rev-parse", "--show-toplevel")) != here.parent:
            return "unknown"
        return _git(here, "describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def provenance(config: Any, manifest: Path | None = None) -> dict[str, Any]:
    """Return what made an output: version, commit, machine, configuration and the manifest's hash."""
    return {
        "version": __version__,
        "commit": commit(),
        "machine": f"{platform.machine()} {platform.system()} Python {platform.python_version()}",
        "config": to_tree(config),
        "manifest_sha256": file_hash(manifest) if manifest is not None else None,
    }


def rank_and_size() -> tuple[int, int]:
    """Return which of how many processes that train together this one is, as torchrun or Slurm started them."""
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ:
            count = int(os.environ.get(size, "1"))
            return (int(os.environ[rank]), count) if count > 1 else (0, 1)
    return 0, 1


def is_first_rank() -> bool:
    """Tell whether this process writes what a run folder holds; of several ranks, one does."""
    return rank_and_size()[0] == 0


class RunFolder:
    """A folder that holds one run: its outputs, and the configuration that made them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: a second process is refused instead of writing into the same files.

        Of several ranks the first holds it for all of them.

        Raises
        ------
        UsageError
            If another process holds the folder.
        """
        if not is_first_rank():
            yield
            return
        make_folder(self.path)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(
                    f"{self.path} is in use by another process; wait for it, or give the recipe another name"
                ) from error
            yield

    def record(self, name: str, config: Any, manifest: Path | None = None) -> None:
        """Write ``NAME.yaml``: the configuration and provenance of the output called ``name``. The first rank does."""
        if not is_first_rank():
            return
        write_text(
            self.path / f"{name}.yaml",
            yaml.safe_dump(provenance(config, manifest), sort_keys=False, allow_unicode=True),
        )
