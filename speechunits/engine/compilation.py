"""Compiled blocks while a training runs, where that is asked for and possible."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn

from speechunits.config import EngineConfig
from speechunits.encoder.context import Block


def obstacle(device: torch.device, parallel: str) -> str | None:
    """Return why blocks cannot be compiled for a device, or None."""
    if parallel == "fsdp":
        return "engine.parallel must be ddp to compile, but is fsdp: shards are gathered within the blocks"
    if device.type == "cuda":
        return None if find_spec("triton") else "compiling for a GPU takes triton, which is not installed"
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"compiling for a CPU takes a C++ compiler, but there is no {compiler}; install one, or name it in CXX"
    return None


@contextmanager
def compiled(learner: nn.Module, config: EngineConfig, device: torch.device) -> Iterator[None]:
    """Compile the transformer blocks of a learner within the context, in place; say so where that cannot be done.

    All blocks share their code. It is compiled for the first shape, then once for all others: batches have some 70.
    """
    reason = obstacle(device, config.parallel) if config.compile else None
    if reason is not None:
        print(f"engine.compile: {reason}. Training goes on without it", file=sys.stderr, flush=True)
    wanted = config.compile and reason is None
    blocks = [module for module in learner.modules() if isinstance(module, Block)] if wanted else []
    for block in blocks:
        block.compile()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
