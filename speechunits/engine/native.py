"""Stand-ins that let fairseq2's Trainer be imported on any machine and under any torch.

fairseq2's C++ package is built for one torch release and wants libsndfile and a CUDA runtime; with ``DOC_MODE`` set
fairseq2 defines empty Python shells in its place, and nothing the engine uses needs more. The Trainer's module also
imports experiment trackers and model hubs that training never touches: they are stood in for during that import
(it costs 2 s instead of 8 s) and are then forgotten, so that whoever really wants them still gets them.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

_NATIVE = "fairseq2n"
_BYSTANDERS = ("wandb", "wandb.errors", "transformers")


def prepare_fairseq2() -> None:
    """Import fairseq2's Trainer with stand-ins for its native package and for what training does not use."""
    if "fairseq2.trainer" in sys.modules:
        return
    if _NATIVE not in sys.modules:
        sys.modules[_NATIVE] = _native()
    # A package that is there already is left alone: its own parts may be half way through importing each other.
    stood_in = [name for name in _BYSTANDERS if name.partition(".")[0] not in sys.modules]
    try:
        for name in stood_in:
            sys.modules[name] = _Bystander(name)
        # fairseq2.trainer imported first ends in a circular import; through the recipe package it does not.
        importlib.import_module("fairseq2.recipe")
        trainer = importlib.import_module("fairseq2.trainer")
    finally:
        for name in stood_in:
            sys.modules.pop(name, None)
    # It labels six parts of every step for a profiler that is never given to it: 1.4 % of a step over five seconds.
    if hasattr(trainer, "record_function"):
        trainer.record_function = _unlabelled  # type: ignore[attr-defined]


def _unlabelled(_: str) -> AbstractContextManager[None]:
    return nullcontext()


def _native() -> ModuleType:
    module = ModuleType(_NATIVE, "Pure-Python stand-in for fairseq2's native package.")
    module.__version__ = "0.8.1"  # type: ignore[attr-defined]
    module.DOC_MODE = True  # type: ignore[attr-defined]
    return module


class _Bystander(ModuleType):
    """A module that has every class one asks for, all of them empty."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})
