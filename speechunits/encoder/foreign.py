"""Encoders of other libraries as ours: folders of Hugging Face, names on its hub, checkpoints of fairseq2.

Nothing of those libraries is imported: their weights are renamed. Layer k is the output of block k there and here;
layer 0 is the projection of the convolutions, before positions. Pickles are read only where the caller allows it, and
then by torch's restricted reader, which runs no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechunits.config import EncoderConfig, to_tree
from speechunits.encoder.encoder import Encoder, load_exported
from speechunits.errors import ModelRefused, UsageError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
_PICKLES = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


@dataclass(frozen=True, kw_only=True)
class ForeignEncoder:
    """An encoder and where it came from."""

    encoder: Encoder
    origin: Mapping[str, Any]
    """``library``, ``model`` (its type there), ``source`` (the name it was asked for) and ``assumed``."""

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and header of an encoder bundle."""
        tensors = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        return tensors, {"kind": "encoder", "encoder": to_tree(self.encoder.config), "origin": dict(self.origin)}


def is_foreign(source: Path) -> bool:
    """Whether a path is a foreign checkpoint, or no path but a name on the hub."""
    if source.is_dir():
        if (source / "encoder.safetensors").exists():
            return False
        return (source / "config.json").exists() or _fairseq2_weights(source) is not None
    if source.exists() or source.suffix == ".safetensors":
        return source.suffix in (".pt", ".bin")
    return bool(_HUB_NAME.fullmatch(str(source)))


def read_foreign(source: Path, *, allow_pickle: bool = False) -> ForeignEncoder:
    """Return the encoder of a Hugging Face folder, a hub name (``owner/name``) or a fairseq2 checkpoint.

    Raises
    ------
    ModelRefused
        If it cannot be had, is a pickle and pickles are not allowed, or is of an architecture we do not have.
    UsageError
        If it is a hub name and ``huggingface_hub`` is not installed.
    """
    from speechunits.encoder import foreign_fairseq2, foreign_huggingface  # noqa: PLC0415 - they need names from here

    folder = source if source.exists() else _download(str(source), allow_pickle=allow_pickle)
    if folder.is_dir() and (folder / "config.json").exists():
        made = foreign_huggingface.convert(_json(folder / "config.json"), _preprocessor(folder),
                                           _huggingface_weights(folder, allow_pickle=allow_pickle))  # fmt: skip
    else:
        weights = _fairseq2_weights(folder) if folder.is_dir() else folder
        if weights is None:
            raise ModelRefused(f"{source} is no encoder: it holds neither config.json nor a fairseq2 model")
        card = next((parent / "model.yaml" for parent in weights.parents[:6] if (parent / "model.yaml").exists()), None)
        made = foreign_fairseq2.convert(card, read_tensors(weights, allow_pickle=allow_pickle))
    config, tensors, origin = made
    encoder = build(config, tensors, str(source))
    return ForeignEncoder(encoder=encoder, origin={"source": source.name if source.exists() else str(source), **origin})


def build(config: EncoderConfig, tensors: Mapping[str, Tensor], source: str) -> Encoder:
    """Return an encoder with renamed tensors, all of which must be used.

    Raises
    ------
    ModelRefused
        If some are missing, unknown or of the wrong shape.
    """
    # What is drawn here is overwritten below: it must not move the caller's draws.
    with torch.random.fork_rng(devices=[]):
        encoder = Encoder(config)
    state = joined(tensors)
    state.setdefault("context.mask_embedding", torch.zeros(config.dim))
    try:
        load_exported(encoder, {f"encoder.{name}": tensor.float() for name, tensor in state.items()}, "encoder.")
    except ModelRefused as error:
        raise ModelRefused(f"{source} has another architecture than its configuration says: {error}") from error
    return encoder.eval()


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the projections of queries, keys and values of each block stacked into one."""
    state = dict(tensors)
    for name in [name for name in state if ".attention.q." in name]:
        parts = [state.pop(name.replace(".q.", f".{letter}."), None) for letter in "qkv"]
        if any(part is None for part in parts):
            raise ModelRefused(f"{name} has no partner among keys and values; the checkpoint is incomplete")
        state[name.replace(".q.", ".inputs.")] = torch.cat([part for part in parts if part is not None])
    return state


def rename(tensors: Mapping[str, Tensor], table: Mapping[str, str], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under our names; those outside ``prefix`` (heads, quantisers) are left out.

    Raises
    ------
    ModelRefused
        If a tensor of the encoder itself has no place in ours.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in tensors.items():
        for pattern, ours in table.items():
            found, count = re.subn(rf"^{pattern}", ours, name)
            if count and found in renamed:
                raise ModelRefused(
                    f"{name} and another tensor would both be our {found}: this encoder has a norm that ours has not"
                )
            if count:
                renamed[found] = tensor
                break
        else:
            if re.match(prefix, name):
                unknown.append(name)
    if unknown:
        raise ModelRefused(
            f"{len(unknown)} tensor(s) have no place in our encoder, e.g. {unknown[0]}: adapters and conformers are "
            "not supported; take the pretrained model without them"
        )
    return renamed


def read_tensors(path: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file, or a pickle where allowed, with torch's restricted reader."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError  # noqa: PLC0415
        from safetensors.torch import load_file  # noqa: PLC0415

        try:
            return dict(load_file(str(path)))
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelRefused(f"{path} cannot be read ({error}); copy it again") from error
    if not allow_pickle:
        raise ModelRefused(
            f"{path} is a pickle, which is not read unasked; take the model's .safetensors, or, if you trust where it "
            "comes from, add --allow-pickle, or to a recipe reduction.allow_pickle=true (torch's restricted reader: no "
            "code is run)"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged archive or a forbidden object leads to
        raise ModelRefused(
            f"{path} cannot be read as tensors alone ({str(error).splitlines()[0]}); is it truncated, or a checkpoint "
            "of original fairseq, which holds Python objects? Convert it with the library that wrote it"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping):
        raise ModelRefused(f"{path} must hold named tensors, but holds a {type(content).__name__} instead")
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _huggingface_weights(folder: Path, *, allow_pickle: bool) -> dict[str, Tensor]:
    for single, many in (
        ("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):  # fmt: skip
        if (folder / single).exists():
            return read_tensors(folder / single, allow_pickle=allow_pickle)
        if (folder / many).exists():
            names = sorted(set(_json(folder / many).get("weight_map", {}).values()))
            tensors: dict[str, Tensor] = {}
            for name in names:
                # A shard lies beside its index: a name with folders in it would lead elsewhere.
                tensors |= read_tensors(folder / Path(str(name)).name, allow_pickle=allow_pickle)
            return tensors
    raise ModelRefused(
        f"{folder} holds neither model.safetensors nor pytorch_model.bin (pickles of a hub name are fetched only with "
        "--allow-pickle or reduction.allow_pickle=true); was the download finished?"
    )


def _fairseq2_weights(folder: Path) -> Path | None:
    """Return the model file in a fairseq2 checkpoint: the folder of a step or of its model, or the last step's."""
    steps = sorted((step for step in folder.glob("step_*") if step.name[5:].isdigit()), key=lambda s: int(s.name[5:]))
    for place in (folder / "model", folder, *(step / "model" for step in reversed(steps))):
        found = sorted(place.glob("pp_*/tp_*/sdp_*.pt"))
        if len(found) > 1:
            raise ModelRefused(f"{place} is split over {len(found)} files; consolidate it with fairseq2 first")
        if found:
            return found[0]
    return None


def _preprocessor(folder: Path) -> Mapping[str, Any]:
    path = folder / "preprocessor_config.json"
    return _json(path) if path.exists() else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{path} cannot be read ({error}); copy it again") from error
    if not isinstance(tree, dict):
        raise ModelRefused(f"{path} must hold a JSON object, but holds a {type(tree).__name__} instead")
    return tree


def _download(name: str, *, allow_pickle: bool) -> Path:
    """Return the folder of a hub name in the local cache, after fetching what is missing."""
    if not _HUB_NAME.fullmatch(name):
        raise ModelRefused(f"{name} does not exist, and is no name on the hub (owner/name)")
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise UsageError(
            f"there is no folder {name} here, and as a name on the hub it needs `pip install huggingface_hub` (extra "
            "[hub]); or download its config.json, preprocessor_config.json and model.safetensors and give their folder"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES + (_PICKLES if allow_pickle else [])))
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"there is no folder {name} here; check the path. Nor can {name} be had as a name on the Hugging Face hub, "
            f"from the local cache or from there ({str(error).splitlines()[0]}): if it is one, check it and the "
            "network, or give a downloaded folder"
        ) from error
