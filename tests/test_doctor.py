"""The doctor names what is wrong and what to do about it."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from speechunits import doctor
from speechunits.cli import main
from speechunits.doctor import Finding, faiss, guarded, packages, report, self_test
from speechunits.errors import UsageError

VERSIONS = {name.lower(): "1.0" for name in doctor.BASE}


def test_this_machine_is_well(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for said in (
        "✓ torch:",
        "✓ faiss:",
        "✓ self-test: 5 s of noise, 249 frames",
        "torch threads on",
        "GPU",
        "espeak-ng",
    ):
        assert said in printed
    assert "✗" not in printed


def test_what_is_looked_for_is_what_is_installed():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    assert {name.lower() for name in doctor.BASE} == names
    for name, extra in doctor.EXTRAS.items():
        assert any(line.startswith(name) for line in project["optional-dependencies"][extra])
    # An inference-only install has nothing to complain of.
    assert {finding.state for finding in packages(VERSIONS)} == {"good", "absent"}


def test_a_double_install_of_faiss_is_named():
    found = faiss({"faiss-cpu": "1.9", "faiss-gpu-cu12": "1.10"})
    assert found.state == "bad"
    assert "faiss-cpu 1.9 and faiss-gpu-cu12 1.10 overwrite each other" in str(found)
    assert "pip uninstall faiss-cpu faiss-gpu-cu12" in found.remedy
    assert faiss({"faiss-cpu": "1.9"}).state == "good"


def test_no_faiss_is_no_fault(monkeypatch):
    monkeypatch.setattr("speechunits.doctor.util.find_spec", lambda name: None)
    found = faiss({})
    assert found.state == "absent"
    assert "speechunits[units]" in found.remedy
    assert doctor.espeak().state == "absent"


def test_missing_packages_and_their_remedies():
    assert report(list(packages(VERSIONS))) == 0
    lacking = {name: version for name, version in VERSIONS.items() if name != "soxr"}
    (bad,) = (finding for finding in packages(lacking) if finding.state == "bad")
    assert "soxr: not installed" in str(bad)
    (bad,) = (finding for finding in packages({**VERSIONS, "torchaudio": "1.1+cpu"}) if finding.state == "bad")
    assert "made for torch 1.1, but torch is 1.0" in str(bad)
    assert report([bad]) == 1
    extras = [finding for finding in packages(VERSIONS) if finding.state == "absent"]
    assert {finding.name for finding in extras} == set(doctor.EXTRAS)
    assert "`pip install 'speechunits[report]'` adds it" in " ".join(map(str, extras))


@pytest.mark.parametrize("error", [UsageError("no"), ImportError("no"), RuntimeError("no")])
def test_what_fails_is_a_finding(error):
    def look() -> Finding:
        raise error

    found = guarded(look)
    assert (found.state, found.name) == ("bad", "look")
    assert "no" in found.found


def test_too_many_threads_are_named(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 10_000)
    found = doctor.threads()
    assert found.state == "bad"
    assert "OMP_NUM_THREADS" in found.remedy


def test_the_allocator_is_named(monkeypatch):
    maps = {"tcmalloc": "7f00-7f01 r-xp 0 fe:00 1 /usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4.5.10", "": "7f00"}
    found = {}
    for name, text in maps.items():
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        found[name] = doctor.allocator()
    assert (found["tcmalloc"].state, found["tcmalloc"].found) == ("good", "tcmalloc")
    assert found[""].state == "absent"
    assert "LD_PRELOAD=" in found[""].remedy


def test_the_self_test_sees_a_format_that_does_not_come_back(monkeypatch):
    from speechunits.units import reading

    read = reading.read_transcripts

    def shortened(path, form):
        (found,) = read(path, form)
        return [replace(found, units=found.units[:-1])] if form == "km" else [found]

    monkeypatch.setattr(reading, "read_transcripts", shortened)
    found = self_test()
    assert found.state == "bad"
    assert "km gave other units" in found.found
