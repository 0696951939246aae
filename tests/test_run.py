"""Run folders: what is written is whole or absent, and one process at a time."""

import json
import subprocess
import sys

import pytest
import yaml

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
