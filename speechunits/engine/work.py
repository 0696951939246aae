"""How well a training uses its machine: FLOPs, utilisation (MFU), padding, waiting for data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Work:
    """Turns what the Trainer publishes into rates of this rank's device.

    ``batches`` is the number of batches of a step on a rank, ``measure`` returns the device's FLOP/s as it is now (None
    where nobody asks), ``done`` the steps of earlier parts of a resumed training.
    """

    def __init__(self, *, batches: int, measure: Callable[[], float] | None, done: int) -> None:
        self._batches = batches
        self._measure = measure
        self._peak = 0.0
        self._last_step = done
        self.measure_peak()

    def measure_peak(self) -> None:
        """Measure the device's peak (again): a busy one does less than it can, so the most it ever did counts."""
        if self._measure is not None:
            self._peak = max(self._peak, self._measure())

    def row(self, flops: float, step: int, values: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the figures of the steps since the last publication; ``flops`` are those of the average batch.

        MFU (Chowdhery et al. 2022, appendix B) is the arithmetic of the transformer over real frames, divided by all
        the time that steps took, reading included (held-out evaluations and checkpoints are not), and by the peak. The
        steps themselves show what the device can do: they are never faster than the peak.
        """
        steps, self._last_step = step - self._last_step, step
        reading_s, computing_s = (float(values.get(name) or 0.0) for name in ("data_time", "compute_time"))
        busy_s = reading_s + computing_s
        row: dict[str, float | None] = {
            "reading_s": reading_s,
            "data_wait_share": reading_s / busy_s if busy_s else None,
        }
        if not flops:
            return row
        total = flops * self._batches * steps
        rate = total / busy_s if busy_s else None
        row |= {"flops_per_step": flops * self._batches, "flops_per_s": rate, "mfu": None}
        if rate is None or self._measure is None:
            return row
        if rate > self._peak:
            self.measure_peak()
        self._peak = max(self._peak, rate)
        return {**row, "mfu": rate / self._peak, "peak_flops_per_s": self._peak}


def shown_work(row: Mapping[str, Any]) -> list[str]:
    """Return the parts of a progress line: speed of the arithmetic, padding, waiting."""
    shown = []
    if row.get("flops_per_s"):
        shown.append(f"{row['flops_per_s'] / 1e9:,.0f} GFLOP/s")
    texts = {"mfu": "{:.0%} MFU", "padding_share": "{:.1%} padding", "data_wait_share": "{:.1%} waiting"}
    for name, text in texts.items():
        if row.get(name) is not None:
            shown.append(text.format(row[name]))
    return shown
