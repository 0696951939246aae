"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Advance = Callable[[float, str], None]
"""Called with the amount of work done since the last call and a short note (may be empty)."""


def seconds_text(seconds: float) -> str:
    """Return a duration as people read it: ``48 s``, ``12:05``, ``3:02:10``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def progress(label: str, total: float, *, done: float = 0.0, every_s: float = 5.0) -> Iterator[Advance]:
    """Show the progress of ``total`` units of work on stderr; yields the function that advances it.

    ``done`` units were finished earlier: they count in the share shown, not in the estimate of what is left.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        # Names of files and runs may hold brackets, which are no markup.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
                   TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False))  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total, note="")
            bar.update(task, completed=done)
            yield lambda amount, note: bar.update(task, advance=amount, note=note)
        return
    started = last = time.monotonic()
    before = done

    def advance(amount: float, note: str) -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        # Shares of a whole add up to it but for rounding.
        if now - last < every_s and done < (1 - 1e-9) * total:
            return
        last = now
        remaining_s = (now - started) * (total - done) / (done - before) if done > before else 0.0
        share = 100 * done / total if total else 100.0
        print(f"{label}: {share:.0f} %, {seconds_text(remaining_s)} left {note}".rstrip(), file=sys.stderr, flush=True)

    yield advance
