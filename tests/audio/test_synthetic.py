"""The embedded corpus: complete, disjoint, aligned, and the same bytes however it is made."""

import builtins
import errno
import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechunits.audio import render as rendering
from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import check_durations, read_manifest
from speechunits.audio.phones import read_phones
from speechunits.audio.render import Studio, Utterance, render
from speechunits.audio.speech_engine import Voice
from speechunits.audio.synthetic import split_hours, synthesise
from speechunits.audio.voices import speakers
from speechunits.config import SynthConfig, build_config
from speechunits.errors import UsageError

TINY = SynthConfig(hours=60 / 3600, voices=6, jobs=1)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out, shares = tmp_path_factory.mktemp("synth") / "corpus", []
    report = synthesise(out, TINY, on_progress=lambda share, _name: shares.append(share))
    return out, report, shares


@pytest.fixture(scope="module")
def corpus(made):
    return made[:2]


def test_progress_reaches_the_whole_and_no_more(made):
    _, report, shares = made
    assert sum(report.hours.values()) > TINY.hours
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0


def test_splits_share_no_speaker_and_no_sentence(corpus):
    out, report = corpus
    recordings = read_manifest(out / "manifest.tsv")
    assert report.made
    assert {r.split for r in recordings} == {"train", "tune", "dev", "test"}
    for first in ("train", "dev", "test"):
        for second in {"train", "tune", "dev", "test"} - {first}:
            chosen, others = ([r for r in recordings if r.split == name] for name in (first, second))
            assert {r.text for r in chosen}.isdisjoint(r.text for r in others)
            if {first, second} != {"train", "tune"}:
                assert {r.speaker for r in chosen}.isdisjoint(r.speaker for r in others)
    assert len({r.speaker for r in recordings}) == report.speakers == 6
    for name, hours in split_hours(TINY.hours).items():
        seconds = sum(r.duration_s for r in recordings if r.split in ((name, "tune") if name == "train" else (name,)))
        assert 3600 * hours <= seconds < 3600 * hours + 6


def test_words_lie_on_phones_and_spell_the_text(corpus):
    out, _ = corpus
    phones, words = read_phones(out / "phones.tsv"), read_phones(out / "words.tsv")
    for recording in read_manifest(out / "manifest.tsv"):
        spoken = words[recording.id]
        assert " ".join(word.label for word in spoken) == recording.text
        starts = {phone.start_s for phone in phones[recording.id] if phone.label != "SIL"}
        ends = {phone.end_s for phone in phones[recording.id] if phone.label != "SIL"}
        assert {word.start_s for word in spoken} <= starts
        assert {word.end_s for word in spoken} <= ends
        # Every phone belongs to one word; espeak-ng pauses within some.
        for phone in phones[recording.id]:
            inside = [word for word in spoken if word.start_s <= phone.start_s and phone.end_s <= word.end_s]
            assert len(inside) == 1 or phone.label == "SIL"


def test_the_manifest_tells_the_truth(corpus):
    out, _ = corpus
    recordings = read_manifest(out / "manifest.tsv")
    assert check_durations(recordings) == (recordings, [], [])
    assert sorted(r.audio for r in recordings) == sorted((out / "audio").rglob("*.flac"))
    info = soundfile.info(recordings[0].audio)
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")


def test_alignments_cover_the_recordings_with_plain_labels(corpus):
    out, report = corpus
    phones = read_phones(out / "phones.tsv")
    recordings = read_manifest(out / "manifest.tsv")
    assert set(phones) == {r.id for r in recordings}
    for r in recordings:
        own = phones[r.id]
        assert own[0].start_s == 0
        assert own[-1].end_s == pytest.approx(r.duration_s, abs=1e-4)
        assert all(a.end_s == b.start_s for a, b in pairwise(own))
        assert sum(phone.label != "SIL" for phone in own) >= 0.7 * len(r.text.replace(" ", ""))
    labels = {phone.label for own in phones.values() for phone in own}
    assert {"a", "e", "t", "k", "SIL"} <= labels
    assert not any(set(label) & set("ˈˌ ") or not label for label in labels)
    assert report.phone_types == len(labels)


def test_bytes_depend_on_neither_jobs_nor_another_run(corpus, tmp_path):
    out, _ = corpus
    synthesise(tmp_path / "again", SynthConfig(hours=TINY.hours, voices=6, jobs=2))
    assert contents(tmp_path / "again") == contents(out)


def test_bytes_do_not_depend_on_the_order(tmp_path):
    studio = Studio(rate_hz=16_000, field=True, babble=(("lo kena mora", Voice("es+m2", 150, 50, 50)),))
    names = ["f2", "m3", "victor", "m1"]  # f2 and victor are breathy: their noise is what espeak-ng seeds by the clock
    bytes_of = []
    for order in (range(4), [2, 0, 3, 1]):
        folder = tmp_path / str(len(bytes_of))
        batch = [
            Utterance(str(i), f"te zalo kidopa {names[i]}", Voice(f"es+{names[i]}", 140, 50, 50), 1.1, (0, i),
                      folder / f"{i}.flac")
            for i in order
        ]  # fmt: skip
        done = sorted(render(batch, studio, jobs=1))
        bytes_of.append((contents(folder), done))
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize("shift", [0.85, 1.0, 1.18])
def test_alignments_are_where_the_sound_is(tmp_path, shift):
    studio = Studio(rate_hz=16_000, field=False, babble=())
    utterance = Utterance("u", "sa, chosa, kaso.", Voice("es+m3", 130, 50, 50), shift, (0,), tmp_path / "u.flac")
    (done,) = render([utterance], studio, jobs=1)
    samples = load_waveform(tmp_path / "u.flac")
    assert len(samples) == done.samples

    def loudness(label):
        parts = [samples[round(a) + 80 : round(b) - 80] for a, b, name in done.phones if name == label]
        return np.sqrt(np.mean(np.concatenate(parts) ** 2))

    def brightness(label):
        parts = np.concatenate([samples[round(a) + 80 : round(b) - 80] for a, b, name in done.phones if name == label])
        return np.mean(np.diff(parts) ** 2) / np.mean(parts**2)

    assert [name for _, _, name in done.phones if name != "SIL"] == ["s", "a", "tʃ", "o", "s", "a", "k", "a", "s", "o"]
    assert loudness("SIL") < 0.05 * loudness("a")
    assert brightness("s") > 5 * brightness("a")


def test_the_shift_moves_pitch_and_formants_but_not_the_tempo(tmp_path):
    studio = Studio(rate_hz=16_000, field=False, babble=())
    voice = Voice("es+m3", 140, 50, 0)
    batch = [Utterance(f"{s}", "mola mona luma rana", voice, s, (0,), tmp_path / f"{s}.flac") for s in (1.0, 1.18)]
    lengths = {done.id: done.samples for done in render(batch, studio, jobs=1)}
    assert lengths["1.18"] / lengths["1.0"] == pytest.approx(1, abs=0.08)
    centres = []
    for s in (1.0, 1.18):
        power = np.abs(np.fft.rfft(load_waveform(tmp_path / f"{s}.flac"), 65_536)) ** 2
        share = np.cumsum(power) / power.sum()
        centres.append(np.array([np.searchsorted(share, level) for level in (0.3, 0.6, 0.9)]))
    assert np.median(centres[1] / centres[0]) == pytest.approx(1.18, abs=0.1)


def test_a_finished_corpus_is_kept(corpus):
    out, report = corpus
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = synthesise(out, SynthConfig(hours=TINY.hours, voices=6, jobs=2))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert not again.made
    assert again.hours == report.hours


def test_an_interrupted_corpus_is_made_anew(corpus, tmp_path):
    out, _ = corpus
    partial = tmp_path / "partial"
    stale = partial / "audio" / "es000" / "stale.flac"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    (partial / "synth.unfinished.json").write_text("{}")
    assert synthesise(partial, TINY).made
    assert contents(partial) == contents(out)


def test_what_is_not_ours_is_left_alone(corpus, tmp_path):
    out, _ = corpus
    with pytest.raises(UsageError, match="another configuration"):
        synthesise(out, SynthConfig(hours=TINY.hours, voices=6, jobs=1, seed=1))
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(UsageError, match=r"thesis\.doc"):
        synthesise(tmp_path, TINY)
    assert (tmp_path / "thesis.doc").exists()


def test_wrong_configurations_name_every_fault():
    with pytest.raises(UsageError, match=r"hours must be above 0.*jobs must be at least 1.*voices must be at least 3"):
        build_config(SynthConfig, {"hours": 0, "voices": 2, "jobs": 0})
    for tree, said in (({"difficulty": "hard"}, "must be one of clean, field"), ({"languages": []}, "at least one")):
        with pytest.raises(UsageError, match=said):
            build_config(SynthConfig, tree)


def test_an_unknown_language_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="qqq"):
        synthesise(tmp_path / "out", SynthConfig(hours=0.001, voices=3, jobs=1, languages=("qqq",)))
    assert not (tmp_path / "out" / "synth.json").exists()


def test_a_missing_loader_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install 'speechunits\\[synthetic\\]'"):
        synthesise(tmp_path / "out", TINY)
    assert not (tmp_path / "out").exists()


def test_sixty_speakers_are_distinct():
    people = speakers(60, ("es", "it"), field=True, seed=0)
    assert len({(p.variant, p.pitch, p.words_per_minute, p.language) for p in people}) == 60
    assert [sum(p.split == name for p in people) for name in ("train", "dev", "test")] == [44, 8, 8]
    assert all(1 / 1.18 <= p.shift <= 1.18 for p in people)
    assert all(p.shift == 1 for p in speakers(60, ("es",), field=False, seed=0))
    assert {p.language for p in people if p.split == "dev"} == {"es", "it"}


def test_provenance_is_beside_the_corpus(corpus):
    tree = json.loads(Path(corpus[0] / "synth.json").read_text())
    assert tree["config"]["difficulty"] == "field"
    assert len(tree["summary"]["voices"]) == 6


def test_hours_are_divided():
    assert split_hours(1.0) == pytest.approx({"train": 0.8, "dev": 0.1, "test": 0.1})
    assert split_hours(20.0) == pytest.approx({"train": 19.0, "dev": 0.5, "test": 0.5})
    assert split_hours(0.1) == pytest.approx({"train": 0.07, "dev": 0.015, "test": 0.015})


@pytest.mark.parametrize("kind", ["libsndfile", "system"])
def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch, kind):
    def full(path, *_, **__):
        if kind == "system":
            raise OSError(errno.ENOSPC, "No space left on device")
        # All that libsndfile says of a full disk: System error.
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile, "write", full)
    monkeypatch.setattr(rendering, "_spoken", lambda *_: (np.zeros(800, np.float32), [], []))
    spoken = rendering.Utterance("a", "", None, 1.0, (0,), tmp_path / "audio" / "a.flac")
    studio = rendering.Studio(rate_hz=16_000, field=False, babble=())
    monkeypatch.setattr(rendering, "SpeechEngine", lambda _: None)
    monkeypatch.setattr(rendering, "set_level", lambda samples, _: samples)
    with pytest.raises(OSError, match="No space left") as caught:
        rendering.render_utterance(spoken, None, studio, np.zeros(1, np.float32))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(spoken.path))
