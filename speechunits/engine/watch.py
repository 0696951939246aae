"""How long steps take, without waiting for a GPU in each of them."""

from __future__ import annotations

import time
from typing import Self

import torch


class StepWatch:
    """Sums the time between its starts and stops; what stops it waits for the device only where ``waits`` says so.

    fairseq2's own, of which this has the methods that its Trainer calls, waits whenever it stops: no step could be
    prepared while the one before it is computed. A sum that ends with a wait is as long as the device has computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._elapsed_s = 0.0
        self._started_s: float | None = None
        self.waits = False

    def start(self) -> None:
        """Begin to count."""
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        """Count no longer."""
        if self._started_s is None:
            return
        if self.waits and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._elapsed_s += time.perf_counter() - self._started_s
        self._started_s = None

    def reset(self) -> None:
        """Forget what was counted, between a stop and a start."""
        self._elapsed_s = 0.0

    def get_elapsed_time(self) -> float:
        """Return the seconds counted."""
        return self._elapsed_s

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
