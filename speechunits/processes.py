"""Work shared among processes that die with the one that started them; results come in the order they are ready."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

from speechunits.errors import Interrupted, SpeechUnitsError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Iterator[Item]], Iterator[Result]]


def in_processes(work: Work[Item, Result], items: Sequence[Item], jobs: int, *, name: str) -> Iterator[Result]:
    """Yield what ``work`` makes of the items in ``jobs`` processes, as it is finished.

    A process is handed the next item when it asks for it, so that none idles beside one whose items are long.
    ``work`` is a function of a module (or a partial of one), since a new interpreter has to import it. ``name`` is what
    the message calls a process that dies.

    Raises
    ------
    SpeechUnitsError, OSError
        The first error of a process, of its own class; the other processes are ended.
    Interrupted
        After SIGTERM: the processes were ended by it too, and are waited for, since a training saves where it is.
    """
    with _sigterm_raises(name):
        yield from _results(work, items, jobs, name)


def _results(work: Work[Item, Result], items: Sequence[Item], jobs: int, name: str) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    try:
        for _ in range(min(jobs, len(items))):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_run, args=(work, theirs), daemon=True)
            worker.start()
            theirs.close()
            workers.append(worker)
            pipes.append(ours)
        yield from _collect(pipes, iter(items), name)
    finally:
        # A worker that finished what it was at when the signal came asks for more: it is told that nobody is left.
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.terminate()
            worker.join()


@contextmanager
def _sigterm_raises(name: str) -> Iterator[None]:
    """Turn SIGTERM into an error, so that the processes are ended and waited for; it would end this one alone."""
    # Python delivers signals to the main thread only, and who has a handler already knows what to do.
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Once is enough: whoever ends a group of processes sends two.
        raise Interrupted(f"{name} was ended by SIGTERM; what was finished is kept, the same command goes on", number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _collect(pipes: list[Connection], items: Iterator[Item], name: str) -> Iterator[Result]:
    waiting = list(pipes)
    while waiting:
        for pipe in wait(waiting):
            assert isinstance(pipe, Connection)
            try:
                said, content = pipe.recv()
                if said == "next":
                    # An item, or none: nothing else can be told from an item.
                    pipe.send(list(islice(items, 1)))
            except (EOFError, ConnectionError):
                raise UsageError(
                    f"a {name} process died, perhaps for lack of memory; try again with fewer jobs"
                ) from None
            if said == "error":
                kind, *rest = content
                raise kind(*rest)
            if said == "end":
                waiting.remove(pipe)
                pipe.close()
            elif said == "result":
                yield content


def _handed(pipe: Connection) -> Iterator[Any]:
    """Yield items as long as the parent has any."""
    while True:
        pipe.send(("next", None))
        item = pipe.recv()
        if not item:
            return
        yield item[0]


def _run(work: Work[Item, Result], pipe: Connection) -> None:
    """Work in this process, asking for items and sending results; then the end, or the class and text of an error."""
    # Ctrl-C reaches the whole group: the parent alone handles it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        # PR_SET_PDEATHSIG: a killed parent takes its workers along.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            # It was killed while this process was importing: no signal comes any more.
            return
    with closing(pipe):
        try:
            for result in work(_handed(pipe)):
                pipe.send(("result", result))
            pipe.send(("end", None))
        except SpeechUnitsError as error:
            # One that also holds a signal's number cannot be made from its text alone.
            kind = type(error) if type(error).__init__ is SpeechUnitsError.__init__ else SpeechUnitsError
            pipe.send(("error", (kind, str(error))))
        except (EOFError, ConnectionError):
            # The parent is gone, and nobody is left to tell.
            return
        except OSError as error:
            pipe.send(("error", (OSError, error.errno, error.strerror, error.filename)))
