"""When to publish, save and stop: by the clock and by signals, which fairseq2's Trainer only knows in steps."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from fairseq2.gang import Gang, ReduceOperation
from fairseq2.trainer import Trainer

from speechunits.engine.journal import Journal
from speechunits.engine.watch import StepWatch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHO_S = 1.0
"""Who ends a group of processes, as batch systems do, signals each of them, and then a parent signals its own."""
_PUBLISH_EVERY = "_publish_metrics_every_n_steps"
_CHECKPOINT_EVERY = "_checkpoint_every_n_steps"
_WATCH = "_compute_watch"


class Steering:
    """Decides at the beginning of each step what follows it; all ranks decide alike.

    A stop is asked of the Trainer by its public ``request_stop``. Publications and checkpoints by the clock set the
    Trainer's interval to the very step at hand: it has no other way to be told. Nor has it a way to be told not to wait
    for the device at the end of every step: its watch is replaced by one that waits before a publication.
    """

    def __init__(
        self,
        journal: Journal,
        gang: Gang,
        *,
        total_steps: int,
        minutes: float | None,
        publish_s: float,
        checkpoint_s: float | None,
    ) -> None:
        self._journal = journal
        self._gang = gang
        self._total_steps = total_steps
        self._minutes = minutes
        self._publish_s = publish_s
        self._checkpoint_s = checkpoint_s
        self._published = self._saved = time.monotonic()
        self._trainer: Trainer | None = None
        self._watch = StepWatch(gang.device)

    def take(self, trainer: Trainer) -> None:
        """Steer this trainer."""
        for name in (_PUBLISH_EVERY, _CHECKPOINT_EVERY, _WATCH):
            if not hasattr(trainer, name):
                raise RuntimeError(f"this fairseq2 has no Trainer.{name}; install the version of the [train] extra")
        setattr(trainer, _WATCH, self._watch)
        self._trainer = trainer

    def release(self) -> None:
        """Let go of the trainer: a ring of references would keep its moments in memory until Python looks for rings."""
        self._trainer = None

    def signal_received(self) -> int:
        """Return the highest signal that any rank received, also since the last step began; 0 where there was none."""
        return self._agree(out_of_time=False, publish=False, save=False)[0]

    def before_step(self, step: int) -> None:
        """Decide what follows step ``step``."""
        assert self._trainer is not None
        now = time.monotonic()
        out_of_time = self._minutes is not None and self._journal.wall_s >= 60 * self._minutes
        publish = now - self._published >= self._publish_s
        save = self._checkpoint_s is not None and now - self._saved >= self._checkpoint_s
        signal_number, out_of_time, publish, save = self._agree(out_of_time=out_of_time, publish=publish, save=save)
        setattr(self._trainer, _PUBLISH_EVERY, step if publish else None)
        if publish:
            self._published = now
        if self._checkpoint_s is not None:
            setattr(self._trainer, _CHECKPOINT_EVERY, step if save else None)
            if save:
                self._saved = now
        self._journal.steps = step
        if signal_number:
            self._journal.signal_number = signal_number
            self._journal.stopping = True
            self._journal.interrupted = step < self._total_steps
        elif out_of_time and step < self._total_steps:
            self._journal.stopped = "minutes budget"
        ends = bool(signal_number) or out_of_time or step >= self._total_steps
        # The last step is published, too.
        self._watch.waits = publish or ends
        if ends:
            self._trainer.request_stop()

    def _agree(self, *, out_of_time: bool, publish: bool, save: bool) -> tuple[int, bool, bool, bool]:
        """Return the highest signal that any rank received, and what the first rank's clock says."""
        signal_number = self._journal.signal_number or 0
        if self._gang.size == 1:
            return signal_number, out_of_time, publish, save
        own = [out_of_time, publish, save] if self._gang.rank == 0 else [False] * 3
        flags = torch.tensor([signal_number, *own], dtype=torch.int64, device=self._gang.device)
        self._gang.all_reduce(flags, ReduceOperation.MAX)
        number, *decided = flags.tolist()
        return number, bool(decided[0]), bool(decided[1]), bool(decided[2])


@contextmanager
def signals_noted(journal: Journal) -> Iterator[None]:
    """Note SIGINT and SIGTERM in the journal; a second one, later, acts at once, as if nobody had listened."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only.
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # Whoever ignores a signal leaves it to the process that started it: Ctrl-C reaches both.
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    noted_at: float | None = None

    def note(number: int, _: FrameType | None) -> None:
        nonlocal noted_at
        if noted_at is None:
            noted_at = time.monotonic()
            journal.signal_number = number
            print("stopping after this step, with a checkpoint; once more stops at once", file=sys.stderr, flush=True)
        elif time.monotonic() - noted_at > _ECHO_S:
            for known, handler in before.items():
                signal.signal(known, handler)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
