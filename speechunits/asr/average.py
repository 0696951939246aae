"""The mean of a training's last weights, which is less noisy than any of them (Izmailov et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_POINTS = 20
"""Weights that enter a mean: more of them are closer together, and tell nothing new."""


class WeightAverage:
    """Sums the weights of ``module`` at evenly spaced steps of the last ``share`` of its training."""

    def __init__(self, module: nn.Module, share: float) -> None:
        self._module = module
        self._share = share
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def step(self, step: int, total_steps: int) -> None:
        """Note the weights that ``step`` steps of ``total_steps`` have made, where it is their turn."""
        span = int(self._share * total_steps)
        if span and step >= total_steps - span and (total_steps - step) % max(1, span // _POINTS) == 0:
            self.add()

    @torch.no_grad()
    def add(self) -> None:
        """Add the weights as they are."""
        for name, parameter in self._module.named_parameters():
            if name in self._sums:
                self._sums[name] += parameter
            else:
                self._sums[name] = parameter.detach().clone()
        self._count += 1

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: sums and how many weights they are of."""
        return {"sums": self._sums, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`: checkpoints are read on the CPU, and each sum goes where its weights are."""
        devices = {name: parameter.device for name, parameter in self._module.named_parameters()}
        self._sums = {name: total.to(devices[name]) for name, total in state["sums"].items()}
        self._count = state["count"]

    @torch.no_grad()
    def apply(self) -> None:
        """Add the last weights and put the mean in their place; where nothing was noted, leave them alone."""
        if self._count:
            self.add()
            for name, parameter in self._module.named_parameters():
                parameter.copy_(self._sums[name] / self._count)
        self._sums, self._count = {}, 0
