"""The stages in order, one function each: read this first.

    data → pretrain → units → pseudotext → transcribe → finetune → reduction → summary

Every stage reads the outputs of the ones before from the run folder, and keeps what it finds done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.audio.corpus import Corpus, load_corpus
from speechunits.audio.manifest import Recording
from speechunits.config import (
    BudgetConfig,
    PretrainConfig,
    PseudotextConfig,
    RecipeConfig,
    UnitsConfig,
)
from speechunits.errors import UsageError
from speechunits.run import RunFolder, content_key, read_json, write_json


class Experiment:
    """A recipe, its run folder and its corpus."""

    def __init__(self, recipe: RecipeConfig) -> None:
        self.recipe = recipe
        self.folder = RunFolder(recipe.runs / recipe.name)
        self.encoder = self.folder / "pretrain" / "encoder.safetensors"
        self.units = self.folder / "units.safetensors"
        self.mfcc_units = self.folder / "mfcc.safetensors"
        self.recognizer = self.folder / "asr.safetensors"
        self.results = self.folder / "results.json"
        self.quality = self.folder / "units.json"

    @cached_property
    def corpus(self) -> Corpus:
        """The recipe's corpus."""
        return load_corpus(self.recipe.corpus)
