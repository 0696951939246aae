"""The container of every bundle: one safetensors file whose metadata holds a JSON header. Nothing is unpickled.

The header always has ``format``, ``kind``, ``version`` (of this package), ``provenance``, ``tensors_sha256`` and
``header_sha256``; each kind adds its own keys (see docs/formats.md). Format 1 had no ``header_sha256``, and is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechunits import __version__
from speechunits.errors import ModelRefused, UsageError
from speechunits.run import atomic_path, read_json

FORMAT = 2
_READ = (1, 2)
Kind = Literal["encoder", "units", "recognizer", "frame_units"]
_KEY = "speechunits"
_PREFIX_BYTES = 8
"""A safetensors file begins with the size of its header as a 64-bit little-endian number."""
_MAX_HEADER_BYTES = 16 * 1024 * 1024


def write_bundle(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a bundle atomically; ``header`` must name its ``kind`` and may hold a ``provenance``.

    Raises
    ------
    ValueError
        If the header names no kind, or cannot be written as JSON.
    OSError
        If the file cannot be written.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - needed only where a bundle is written
    from safetensors.torch import save_file  # noqa: PLC0415

    if "kind" not in header:
        raise ValueError(f"the header of a bundle must name its kind, but has only {sorted(header)}")
    # Copies: tied weights share memory, which the format refuses.
    stored = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    full = {
        "provenance": {},
        **header,
        "format": FORMAT,
        "version": __version__,
        "tensors_sha256": tensors_hash(stored),
    }
    full["header_sha256"] = header_hash(full)
    text = json.dumps(full, ensure_ascii=False, allow_nan=False, sort_keys=True)
    if len(text.encode()) > _MAX_HEADER_BYTES // 2:
        raise ValueError(f"the header of a bundle must be under {_MAX_HEADER_BYTES // 2} bytes, but is {len(text)}")
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(stored, str(temporary), metadata={_KEY: text})
        except SafetensorError as error:
            raise _system_error(error, path) from error
        # It replaces the file by one that nobody else may read.
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)


def _system_error(error: Exception, path: Path) -> OSError:
    """Return what the system said to safetensors, which tells it in words alone."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = errno.EIO if found is None else int(found[1])
    return OSError(number, str(error) if found is None else os.strerror(number), str(path))


def import_encoder(source: Path, folder: Path, *, allow_pickle: bool = False) -> Path:
    """Write a foreign encoder as a bundle into ``folder``; raises what ``encoder.foreign.read_foreign`` raises."""
    from speechunits.encoder.foreign import read_foreign  # noqa: PLC0415 - bundles are read without an encoder

    tensors, header = read_foreign(source, allow_pickle=allow_pickle).export()
    path = folder / "encoder.safetensors"
    write_bundle(path, tensors, header)
    return path


def encoder_path(source: Path) -> Path:
    """Return the encoder bundle that a run folder holds, or the path itself."""
    if not source.is_dir():
        return source
    for candidate in (source / "encoder.safetensors", source / "pretrain" / "encoder.safetensors"):
        if candidate.exists():
            return candidate
    begun = _begun(source) or "is it a run folder, and has pretraining begun?"
    raise UsageError(f"{source} holds no encoder.safetensors; {begun}")


def _begun(run: Path) -> str | None:
    """Say what became of a training that has left no encoder in its folder; None where there is none."""
    places = (run, run / "pretrain", *sorted((run / "pretrain").glob("pass*")))
    place = next((place for place in places if (place / "training.json").exists()
                  and not (place / "encoder.safetensors").exists()), None)  # fmt: skip
    if place is None:
        return None
    try:
        collapse = read_json(place / "training.json").get("collapse")
    except (OSError, ValueError, AttributeError):
        collapse = None
    kept = [path for path in place.glob("checkpoints/step_*/encoder.safetensors") if path.parent.name[5:].isdigit()]
    last = max(kept, key=lambda path: int(path.parent.name[5:]), default=None)
    remedy = (
        f"the training in {place} {collapse}; change its settings and give it another name (name=NEW)"
        if collapse
        else f"the training in {place} has begun but not ended: the same command goes on with it"
    )
    return remedy if last is None else f"{remedy}, or take the encoder of its last checkpoint, {last}"


def encoder_bundle(source: Path, folder: Path, *, allow_pickle: bool = False) -> Path:
    """Return the bundle of an encoder: a run folder's, the path itself, or a foreign one, imported into ``folder``."""
    from speechunits.encoder.foreign import is_foreign  # noqa: PLC0415 - only where another encoder is asked for

    if is_foreign(source):
        return import_encoder(source, folder, allow_pickle=allow_pickle)
    return encoder_path(source)


def read_bundle(path: Path, kind: Kind | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a bundle: its tensors and its header.

    Raises
    ------
    ModelRefused
        If the file is missing, truncated or corrupted, is no bundle, or is of another kind or a later format.
    """
    header = read_header(path, kind)
    from safetensors import SafetensorError  # noqa: PLC0415 - a header can be shown without torch tensors
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelRefused(f"the bundle {path} cannot be read ({error}); copy or make it again") from error
    if tensors_hash(tensors) != header["tensors_sha256"]:
        raise ModelRefused(f"the bundle {path} is corrupted: its tensors do not match their hash; make it again")
    return tensors, header


def read_header(path: Path, kind: Kind | None = None) -> dict[str, Any]:
    """Read and check only the header of a bundle. Raises ModelRefused like :func:`read_bundle`."""
    metadata = _metadata(path)
    try:
        header = json.loads(metadata[_KEY])
        form, found = header["format"], header["kind"]
        header["tensors_sha256"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelRefused(
            f"{path} is a safetensors file but no speechunits bundle; make one with `speechunits pretrain` or "
            "`speechunits units fit`"
        ) from error
    if form not in _READ:
        raise ModelRefused(
            f"the bundle {path} must have format {' or '.join(map(str, _READ))}, but has {form} instead; "
            f"it was made by speechunits {header.get('version')}, and this is {__version__}"
        )
    if form > 1 and header.get("header_sha256") != header_hash(header):
        raise ModelRefused(f"the bundle {path} is corrupted: its header does not match its hash; make it again")
    if kind is not None and found != kind:
        raise ModelRefused(f"{path} must be a bundle of kind {kind!r}, but is of kind {found!r} instead; {_HINT[kind]}")
    return dict(header)


@contextmanager
def refused_header(name: str) -> Iterator[None]:
    """Turn what goes wrong while a header is put to use into ModelRefused: settings missing, or of another type."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, UsageError, ValueError,
            ZeroDivisionError) as error:  # fmt: skip
        raise ModelRefused(
            f"the header of {name} must hold the settings its tensors need, but does not ({type(error).__name__}: "
            f"{error}); was it edited? Make it again"
        ) from error


_HINT: Mapping[str, str] = {
    "encoder": "give the encoder.safetensors of a pretraining run",
    "units": "`speechunits units fit` makes one from an encoder",
    "recognizer": "`speechunits finetune` makes one from an encoder",
    "frame_units": "a pretraining keeps one beside its targets",
}


def header_hash(header: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a header's JSON, without the hash itself."""
    rest = {key: value for key, value in header.items() if key != "header_sha256"}
    return hashlib.sha256(json.dumps(rest, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")).hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, read without trusting the sizes it states."""
    if path.is_dir():
        held = ", ".join(sorted(found.name for found in path.glob("*.safetensors"))) or "none"
        raise ModelRefused(f"cannot read {path}: it must be a bundle, but is a folder; name one in it (there: {held})")
    try:
        with path.open("rb") as file:
            prefix = file.read(_PREFIX_BYTES)
            size = int.from_bytes(prefix, "little")
            if len(prefix) < _PREFIX_BYTES:
                raise ModelRefused(f"the bundle {path} is truncated: {len(prefix)} bytes; copy or make it again")
            if size > _MAX_HEADER_BYTES:
                raise ModelRefused(
                    f"{path} is no .safetensors file, which begins with the size of its header (at most "
                    f"{_MAX_HEADER_BYTES} bytes); name a bundle that speechunits has made"
                )
            text = file.read(size)
    except OSError as error:
        raise ModelRefused(
            f"cannot read the bundle {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if len(text) < size:
        raise ModelRefused(f"the bundle {path} is truncated within its header; copy or make it again")
    try:
        metadata = dict(json.loads(text).get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ModelRefused(f"{path} is no .safetensors file; name a bundle that speechunits has made") from error
    return metadata


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
