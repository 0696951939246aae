"""Work shared among processes: every item once, errors with their class, nobody left behind."""

import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from speechunits.errors import Interrupted, SpeechUnitsError, UsageError
from speechunits.processes import in_processes


def squares(items):
    for item in items:
        yield item, item * item, os.getpid()


def refuses_three(items):
    for item in items:
        if item == 3:
            raise UsageError("three is not a number we like")
        yield item


def is_interrupted(items):
    raise Interrupted(f"at {next(items)}", signal.SIGTERM)
    yield


def dies(items):
    yield next(items)
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(items):
    yield next(items)
    time.sleep(600)


def sleeps_first(items):
    time.sleep(600)
    yield from items


def is_busy_when_ended(items):
    """Be a training in its last step: it notes SIGTERM, ends what it is at, and asks for more."""
    for item in items:
        noted = []
        signal.signal(signal.SIGTERM, lambda number, _, noted=noted: noted.append(number))
        Path(item).touch()
        while not noted:
            time.sleep(0.01)
        yield item


def test_a_process_that_asks_for_more_when_all_are_ended_is_told_so(tmp_path):
    def end_soon():
        while not (tmp_path / "busy").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = set(multiprocessing.active_children())
    threading.Thread(target=end_soon).start()
    with pytest.raises(Interrupted, match="test was ended by SIGTERM"):
        list(in_processes(is_busy_when_ended, [tmp_path / "busy", tmp_path / "never"], 1, name="test"))
    assert not (tmp_path / "never").exists()
    assert set(multiprocessing.active_children()) == before


def leaves(items):
    """Be a parent that is killed while its workers import what they need."""
    list(in_processes(sleeps_first, items, 2, name="test"))


def test_workers_of_a_parent_that_was_killed_end_by_themselves():
    parent = multiprocessing.get_context("spawn").Process(target=leaves, args=([1, 2],))
    parent.start()
    children = []
    end = time.monotonic() + 60
    while len(children) < 2 and time.monotonic() < end:
        children = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == parent.pid
                    and b"spawn_main" in (path.parent / "cmdline").read_bytes()]  # fmt: skip
    assert len(children) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    while any(Path(f"/proc/{child}/cmdline").exists() and _runs(child) for child in children):
        assert time.monotonic() < end + 60
        time.sleep(0.1)


def _parent(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _runs(child):
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def squares_of_two(items):
    """Square numbers once two processes are there: else the first to come might take them all."""
    for item, folder in items:
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        yield item, item * item, os.getpid()


def test_every_item_is_worked_on_once_and_by_as_many_processes_as_asked(tmp_path):
    found = list(in_processes(squares_of_two, [(item, tmp_path) for item in range(7)], 2, name="test"))
    assert sorted((item, square) for item, square, _ in found) == [(item, item * item) for item in range(7)]
    assert len({process for _, _, process in found}) == 2
    assert os.getpid() not in {process for _, _, process in found}


def waits_for_others(items):
    """Make the first item last until all others have arrived."""
    for item, folder in items:
        while item == 0 and len(list(folder.iterdir())) < 4:
            time.sleep(0.01)
        yield item


def test_no_process_idles_beside_one_whose_item_is_long(tmp_path):
    items = [(item, tmp_path) for item in range(5)]
    found = []
    for item in in_processes(waits_for_others, items, 2, name="test"):
        found.append(item)
        (tmp_path / str(item)).touch()
    assert found == [1, 2, 3, 4, 0]


def test_no_more_processes_than_items():
    assert len({process for _, _, process in in_processes(squares, [1], 8, name="test")}) == 1
    assert list(in_processes(squares, [], 2, name="test")) == []


def test_an_error_keeps_its_class_and_text():
    with pytest.raises(UsageError, match="three is not a number we like"):
        list(in_processes(refuses_three, range(4), 2, name="test"))


def fills_the_disk(items):
    raise OSError(errno.ENOSPC, "No space left on device", f"file{next(items)}")
    yield


def test_an_error_of_the_system_is_its_own():
    with pytest.raises(OSError, match="No space left on device: 'file5'") as caught:
        list(in_processes(fills_the_disk, [5], 1, name="test"))
    assert caught.value.errno == errno.ENOSPC


def test_an_error_that_cannot_be_made_from_its_text_is_still_one_of_ours():
    with pytest.raises(SpeechUnitsError, match="at 5"):
        list(in_processes(is_interrupted, [5], 1, name="test"))


def test_a_process_that_dies_is_named():
    with pytest.raises(UsageError, match="a test process died, perhaps for lack of memory"):
        list(in_processes(dies, [1], 1, name="test"))


def test_who_stops_listening_leaves_no_process_behind():
    results = in_processes(sleeps, [1, 2], 2, name="test")
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


def saves_when_ended(items):
    """Say that it listens; when ended, take a moment to save."""
    folder = Path(next(items))

    def save(*_):
        time.sleep(0.3)
        (folder / "saved").write_text("all")
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    yield signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    time.sleep(600)


def test_processes_are_ended_by_sigterm_and_waited_for(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        results = in_processes(saves_when_ended, [str(tmp_path)], 1, name="test")
        assert next(results), "Ctrl-C is for the parent"
        with pytest.raises(Interrupted, match="test was ended by SIGTERM") as ended:
            signal.raise_signal(signal.SIGTERM)
        results.close()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.exit_code == 143
    assert (tmp_path / "saved").read_text() == "all"
    assert multiprocessing.active_children() == []
