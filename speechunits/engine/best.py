"""The best of the held-out evaluations: its weights, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from speechunits.engine.journal import Journal
from speechunits.learners.learner import Learner

_METRIC = "cer"


class Best:
    """Keeps the weights of the evaluation with the lowest CER; asks for the end after ``patience`` others in a row."""

    def __init__(self, learner: Learner, journal: Journal, patience: int) -> None:
        self._learner = learner
        self._journal = journal
        self._patience = patience
        self._lowest = math.inf
        self._seen = 0
        self._step = 0
        self._waited = 0
        self._weights: dict[str, Tensor] = {}
        self._report: dict[str, float] = {}

    def see(self, step: int, report: Mapping[str, float]) -> None:
        """Take note of an evaluation. Equal figures are no improvement: the earlier weights stay."""
        self._seen = step
        if report[_METRIC] < self._lowest:
            self._lowest, self._step, self._waited = report[_METRIC], step, 0
            self._weights = {name: value.clone() for name, value in self._learner.state_dict().items()}
            self._report = dict(report)
            return
        self._waited += 1
        self._stop_in_time()

    def _stop_in_time(self) -> None:
        if self._waited >= self._patience:
            self._journal.stopped = f"no lower {_METRIC} on tune after step {self._step}"

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, the best weights among it."""
        return {
            "lowest": self._lowest, "seen": self._seen, "step": self._step, "waited": self._waited,
            "weights": self._weights, "report": self._report,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`; an evaluation seen since then stays."""
        if state["seen"] < self._seen:
            return
        self._lowest, self._seen, self._step, self._waited = (
            state[name] for name in ("lowest", "seen", "step", "waited")
        )
        self._weights, self._report = dict(state["weights"]), dict(state["report"])
        self._stop_in_time()

    @torch.no_grad()
    def apply(self) -> None:
        """Give the learner the weights of the best evaluation, if there was any."""
        if self._weights:
            self._learner.load_state_dict(self._weights)
            self._journal.held_out, self._journal.held_out_step = self._report, self._step
