"""Run folders: what is written is whole or absent, and one process at a time."""

import errno
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from speechunits import run
from speechunits.config import UnitsConfig
from speechunits.errors import UsageError
from speechunits.run import RunFolder, atomic_path, commit, content_key, file_hash, write_json, write_text


def fail_halfway(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk is full")


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "out.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk is full"):
        fail_halfway(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_named_with_the_file(tmp_path, error):
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "out.bin"):
        raise error
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "out.bin"))


def test_what_the_system_refuses_with_room_left_is_no_full_disk(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="System error"), atomic_path(tmp_path / "out.flac"):
        raise RuntimeError("System error.")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left"), atomic_path(tmp_path / "out.flac"):
        raise RuntimeError("System error.")


def test_long_names_are_written_and_too_long_ones_refused(tmp_path):
    for name in ("a" * 241 + ".txt", "b" * 100 + "." + "c" * 144, "é" * 125 + ".txt"):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    with pytest.raises(UsageError, match="longer than 255 bytes"):
        write_text(tmp_path / ("a" * 252 + ".txt"), "")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_in_the_place_of_a_folder_is_a_wrong_request(tmp_path):
    (tmp_path / "plain").write_text("")
    for path in (tmp_path / "plain" / "out.txt", tmp_path / "plain" / "deep" / "out.txt"):
        with pytest.raises(UsageError, match="a file is in its place"):
            write_text(path, "")
    with pytest.raises(UsageError, match="a file is in its place"), RunFolder(tmp_path / "plain").lock():
        pass
    with pytest.raises(UsageError, match="but is a folder"):
        write_text(tmp_path, "")


def test_a_package_below_another_projects_checkout_has_no_commit(tmp_path, monkeypatch):
    place = tmp_path / "venv" / "site-packages" / "speechunits"
    place.mkdir(parents=True)
    (place / "run.py").write_text("")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(run, "__file__", str(place / "run.py"))
    assert commit() == "unknown"
    monkeypatch.undo()
    assert commit() != "unknown"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"cer": float("nan")})
    write_json(tmp_path / "x.json", {"word": "ŋgá"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"word": "ŋgá"}


def test_lock_refuses_a_second_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from speechunits.run import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): pass"
    )
    with RunFolder(tmp_path).lock():
        command = [sys.executable, "-c", code, str(tmp_path)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "in use by another process" in other.stderr
    with RunFolder(tmp_path).lock():
        pass


def test_lock_can_be_taken_twice_in_turn(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock(), pytest.raises(UsageError), folder.lock():
        pass
    with folder.lock():
        pass


def test_record_holds_what_made_the_output(tmp_path):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("id\n")
    RunFolder(tmp_path).record("units", UnitsConfig(clusters=7), manifest)
    record = yaml.safe_load((tmp_path / "units.yaml").read_text())
    assert record["config"]["clusters"] == 7
    assert record["manifest_sha256"] == file_hash(manifest)
    assert record["commit"] == commit()


def test_content_key_depends_on_content_alone():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


@pytest.mark.parametrize(
    ("names", "rank", "size"),
    [
        ({}, 0, 1),
        ({"RANK": "3", "WORLD_SIZE": "8"}, 3, 8),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 0, 2),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 1, 2),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, 0, 1),
        ({"SLURM_NTASKS": "4"}, 0, 1),
        ({"RANK": "3"}, 0, 1),
    ],
)
def test_who_is_of_how_many(names, rank, size, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert run.rank_and_size() == (rank, size)
    assert run.is_first_rank() == (rank == 0)


def test_only_the_first_rank_holds_the_folder_and_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setenv("RANK", "1")
    with folder.lock():
        folder.record("units", UnitsConfig())
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RANK", "0")
    with folder.lock():
        with pytest.raises(UsageError, match="in use by another process"), folder.lock():
            pass
        monkeypatch.setenv("RANK", "1")
        with folder.lock():
            folder.record("units", UnitsConfig())
    assert not (tmp_path / "run" / "units.yaml").exists()
