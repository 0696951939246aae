"""Units of many recordings are made once: later calls and other ranks read what was kept."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from speechunits.audio.corpus import load_corpus
from speechunits.errors import InputRefused
from speechunits.units import kept
from speechunits.units.kept import kept_units
from speechunits.units.units import Units
from tests.spine import make_recipe


@pytest.fixture(scope="module")
def rows(tiny_corpus, tmp_path_factory):
    corpus = load_corpus(make_recipe(tiny_corpus, tmp_path_factory.mktemp("none")).corpus)
    return corpus.split("train")[:4]


@pytest.fixture
def made(monkeypatch):
    """Return the inventory of each time that units are made."""
    calls, real = [], Units.recordings

    def recordings(self, *arguments):
        calls.append(self)
        return real(self, *arguments)

    monkeypatch.setattr(Units, "recordings", recordings)
    return calls


@pytest.fixture
def inventory(tiny_runs):
    return tiny_runs / "tiny" / "mfcc.safetensors"


def unexpected(name, reason):
    raise AssertionError(f"{name}: {reason}")


def equal(one, other):
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def test_they_are_made_once(rows, inventory, made, tmp_path):
    path = tmp_path / "kept.safetensors"
    expected = {row.id: units for row, units in Units.load(inventory).recordings(rows)}
    made.clear()
    for _ in range(2):
        assert equal(kept_units(inventory, rows, path, unexpected), expected)
    assert len(made) == 1


def test_another_inventory_other_recordings_and_other_files_are_made_anew(rows, inventory, made, tiny_runs, tmp_path):
    path, other = tmp_path / "kept.safetensors", tmp_path / "other.wav"
    other.write_bytes(rows[0].audio.read_bytes())
    moved = [replace(rows[0], audio=other), *rows[1:]]
    for number, (source, asked) in enumerate(
        [
            (inventory, rows),
            (tiny_runs / "tiny" / "units.safetensors", rows),
            (inventory, rows[1:]),
            (inventory, moved),
        ],
        start=1,
    ):
        found = kept_units(source, asked, path, unexpected)
        assert list(found) == [row.id for row in asked]
        assert len(made) == number
    os.utime(other, ns=(1, 1))
    kept_units(inventory, moved, path, unexpected)
    assert len(made) == 5


def test_what_is_damaged_is_made_anew(rows, inventory, made, tmp_path):
    path = tmp_path / "kept.safetensors"
    first = kept_units(inventory, rows, path, unexpected)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert equal(kept_units(inventory, rows, path, unexpected), first)
    assert len(made) == 2


def test_what_cannot_be_read_is_named_each_time(rows, inventory, tmp_path):
    path = tmp_path / "kept.safetensors"
    broken = [replace(rows[0], audio=tmp_path / "gone.wav"), *rows[1:]]
    told = []
    for _ in range(2):
        found = kept_units(inventory, broken, path, lambda name, reason: told.append((name, reason)))
        assert list(found) == [row.id for row in rows[1:]]
    assert [name for name, _ in told] == [rows[0].id] * 2
    assert told[0] == told[1]
    told.clear()
    with pytest.raises(InputRefused, match="none of the recordings"):
        kept_units(inventory, broken[:1], path, lambda name, reason: told.append((name, reason)))
    assert len(told) == 1


@pytest.mark.parametrize("clusters", [2**15, 2**15 + 1])
def test_no_unit_is_too_large(rows, inventory, clusters, tmp_path, monkeypatch):
    wide = [(row, np.array([0, clusters - 1])) for row in rows]
    monkeypatch.setattr(Units, "recordings", lambda *_: iter(wide))
    for _ in range(2):
        found = kept_units(inventory, rows, tmp_path / "kept.safetensors", unexpected)
        assert all(found[row.id].tolist() == [0, clusters - 1] for row in rows)


def test_another_rank_waits_and_makes_none(rows, inventory, made, tmp_path, monkeypatch):
    path = tmp_path / "kept.safetensors"
    looks, looked = [], threading.Event()
    ranks = {"first": True, "second": False}
    monkeypatch.setattr(kept, "is_first_rank", lambda: ranks[threading.current_thread().name])
    monkeypatch.setattr(kept.time, "sleep", lambda _: (looked.set(), looks.append(1)))
    found = {}

    def ask():
        found[threading.current_thread().name] = kept_units(inventory, rows, path, unexpected)

    second = threading.Thread(target=ask, name="second", daemon=True)
    second.start()
    assert looked.wait(60)
    first = threading.Thread(target=ask, name="first", daemon=True)
    first.start()
    first.join(60)
    second.join(60)
    assert equal(found["first"], found["second"])
    assert len(made) == 1
