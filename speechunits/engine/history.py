"""What a training shows and writes down: progress, ``metrics.jsonl``, TensorBoard. Only the first rank does."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fairseq2.metrics.recorders import MetricRecorder
from torch import Tensor

from speechunits.engine.journal import Journal
from speechunits.engine.unit import FLOPS, PREFIX
from speechunits.engine.work import Work, shown_work
from speechunits.progress import progress
from speechunits.run import write_text

HISTORY = "metrics.jsonl"
_FORMATS = {
    "loss_bits": "{:.2f} bits",
    "chance_bits": "chance {:.2f}",
    "bits": "held-out {:.2f} bits",
    "perplexity": "perplexity {:.0f}",
    "active": "{:.0f} active codes",
    "accuracy": "accuracy {:.0%}",
    "cer": "CER {:.1%}",
    "wer": "WER {:.1%}",
    "blank": "{:.0%} blank",
}
"""How known figures are shown; others are only written down."""


class History(MetricRecorder):
    """Records publications of the Trainer and held-out reports."""

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        *,
        label: str,
        total_steps: int,
        done: int,
        every_s: float,
        tensorboard: bool,
        silent: bool,
        work: Work,
    ) -> None:
        self.path = folder / HISTORY
        self._journal = journal
        self._silent = silent
        self._work = work
        self._note = ""
        self._train_note = ""
        self._last: tuple[float, float] | None = None
        self._shown = self._done = done
        self._stack = ExitStack()
        self._writer: Any = None
        if silent:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _forget(self.path, lambda row: row["step"] > done or not done)  # Those steps are taken again.
        self._advance = self._stack.enter_context(progress(label, total_steps, done=done, every_s=every_s))
        if tensorboard:
            self._writer = _tensorboard(folder / "tensorboard", done)

    def step(self, step: int) -> None:
        """Show that the steps before ``step`` are done."""
        # A resumed journal is known only once the Trainer has restored it.
        self._last = self._last or (self._journal.audio_s, self._journal.wall_s)
        if not self._silent and step - 1 > self._shown:
            self._advance(step - 1 - self._shown, self._note)
            self._shown = step - 1

    def record_metric_values(self, category: str, values: Mapping[str, object], step_nr: int | None = None) -> None:
        """Record what the Trainer publishes: averages since its last publication."""
        if self._silent:
            return
        audio_s, wall_s = self._journal.audio_s, self._journal.wall_s
        last_audio_s, last_wall_s = self._last or (audio_s, wall_s)
        elapsed_s = wall_s - last_wall_s
        learner = {name.removeprefix(PREFIX): _number(v) for name, v in values.items() if name.startswith(PREFIX)}
        loss = learner.get("loss")
        row: dict[str, Any] = {
            "lr": _number(values.get("lr")),
            "grad_norm": _number(values.get("grad_norm")),
            **{name: value for name, value in learner.items() if name != FLOPS},
            "loss_bits": None if loss is None else loss / math.log(2),
            "audio_hours_per_hour": (audio_s - last_audio_s) / elapsed_s if audio_s > last_audio_s else None,
            **self._work.row(learner.get(FLOPS, 0.0), step_nr or 0, values),
        }
        self._last = (audio_s, wall_s)
        self._write(category, step_nr or 0, row)
        shown = [] if row["loss_bits"] is None else [f"loss {row['loss_bits']:.2f} bits"]
        if row["audio_hours_per_hour"] is not None:
            shown.append(f"{row['audio_hours_per_hour']:.0f} x real time")
        shown += shown_work(row)
        self._train_note = ", ".join(shown)
        self._compose()

    def record_report(self, step: int, report: Mapping[str, float]) -> None:
        """Record a report on held-out speech."""
        if not self._silent:
            self._work.measure_peak()
            if step == self._done:
                _forget(self.path, lambda row: row["kind"] == "held_out" and row["step"] == step)  # It is made again.
            self._write("held_out", step, dict(report))
            self._compose()

    def close(self) -> None:
        """Finish the bar and the files."""
        self.step(self._journal.steps + 1)
        self._stack.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _compose(self) -> None:
        report = self._journal.held_out
        if "loss" in report and "loss_bits" not in report:
            report = {**report, "loss_bits": report["loss"] / math.log(2)}
        shown = [text.format(report[name]) for name, text in _FORMATS.items() if name in report]
        if "loss_bits" in report:
            shown[0] = "held-out loss " + shown[0]
        self._note = " | ".join(part for part in (self._train_note, ", ".join(shown)) if part)

    def _write(self, kind: str, step: int, row: Mapping[str, Any]) -> None:
        journal = self._journal
        head = {"kind": kind, "step": step, "audio_hours": journal.audio_s / 3600, "wall_s": round(journal.wall_s, 3)}
        counts = {"skipped_batches": journal.skipped_batches, "refused": len(journal.refused)}
        line = {**head, **row, **{name: count for name, count in counts.items() if count}}
        finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in line.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
        if self._writer is not None:
            for name, value in row.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(f"{kind}/{name}", value, step)


def _number(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int | float | Tensor) else None


def _forget(path: Path, unwanted: Callable[[Mapping[str, Any]], bool]) -> None:
    """Drop the unwanted lines."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if not unwanted(json.loads(line)):
                kept.append(line + "\n")
        except ValueError:
            continue  # The last line of a killed training may be cut short.
    write_text(path, "".join(kept))


def _tensorboard(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        print("tensorboard is not installed: no curves there (pip install tensorboard)", file=sys.stderr)
        return None
    return SummaryWriter(folder, purge_step=done + 1 if done else None)  # type: ignore[no-untyped-call]
