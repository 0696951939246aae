"""Posteriors of a split, kept in a run folder: what another decoding needs when the recogniser is gone.

One safetensors file in half precision: ln P to three digits, 4 kB a second of 40 symbols. Never committed: who has them
has the texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speechunits.asr.hypothesis import Posteriors
from speechunits.asr.tokens import Tokenizer
from speechunits.errors import InputRefused
from speechunits.run import atomic_path

_SYMBOLS = "tokenizer"


@dataclass(frozen=True, kw_only=True)
class SavedPosteriors:
    """Posteriors of recordings by id, the tokens they are of, and the key of the training they came from."""

    key: str
    tokenizer: Tokenizer
    heard: Mapping[str, Posteriors]


def save_posteriors(path: Path, saved: SavedPosteriors) -> None:
    """Write posteriors atomically."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only where posteriors are kept

    tokens, header = saved.tokenizer.export()
    parts = [torch.from_numpy(heard).half() for heard in saved.heard.values()]
    tensors = {
        **tokens,
        "log_posteriors": torch.cat(parts) if parts else torch.zeros(0, len(saved.tokenizer)).half(),
        "frames": torch.tensor([len(part) for part in parts], dtype=torch.int64),
    }
    metadata = {"key": saved.key, "ids": json.dumps(list(saved.heard)), _SYMBOLS: json.dumps(header)}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)


def read_posteriors(path: Path) -> SavedPosteriors:
    """Read what :func:`save_posteriors` wrote. Raises InputRefused where it cannot be read."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        tokenizer = Tokenizer.restore(tensors, json.loads(metadata[_SYMBOLS]))
        values = tensors["log_posteriors"].float().numpy()
        ends = np.cumsum(tensors["frames"].numpy())[:-1]
        ids = json.loads(metadata["ids"])
        heard = dict(zip(ids, np.split(values, ends), strict=True)) if ids else {}
        return SavedPosteriors(key=metadata["key"], tokenizer=tokenizer, heard=heard)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputRefused(f"the posteriors {path} cannot be read ({error}); remove them, and train again") from error
