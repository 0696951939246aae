"""Quality of units where the right answer is known: units that are the phones, and units that say nothing."""

import dataclasses
import math

import numpy as np
import pytest

from speechunits import quality
from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.frames import frame_center_s
from speechunits.units.sequence import runs

NAMES = ("SIL", "a", "b", "c", "d")
FRAMES = 400


class FakeUnits:
    """Gives each recording the units it is told to."""

    def __init__(self, units, clusters):
        self.clusters = clusters
        self.header = {"units": {"layer": 3, "source": "kmeans"}}
        self._units = units

    def recordings(self, recordings, on_fault=None):
        for row in recordings:
            yield row, self._units[row.id]


def spoken(rng):
    """Return phone numbers frame by frame, in runs of two to six frames."""
    changes = rng.integers(1, len(NAMES), FRAMES).cumsum() % len(NAMES)  # a neighbour is never the same phone
    return np.repeat(changes, rng.integers(2, 7, FRAMES))[:FRAMES].astype(np.int64)


@pytest.fixture
def known(tmp_path):
    """Return a corpus whose phones are known on dev, and the phone number of every frame."""
    rng = np.random.default_rng(0)
    truth, phones, rows = {}, {}, []
    for split, count in (("train", 12), ("tune", 3), ("dev", 6)):
        for index in range(count):
            name = f"{split}{index}"
            truth[name] = spoken(rng)
            rows.append(Recording(id=name, audio=tmp_path / f"{name}.wav", duration_s=FRAMES / 50, split=split,
                                  speaker="ab"[index % 2]))  # fmt: skip
            if split == "dev" and index:
                phones[name] = [
                    Phone(frame_center_s(run.first) - 0.01, frame_center_s(run.last) + 0.01, NAMES[run.unit])
                    for run in runs(truth[name])
                ]
    return Corpus(manifest=tmp_path / "m.tsv", recordings=tuple(rows), phones=phones), truth


def measure(monkeypatch, corpus, bundles):
    monkeypatch.setattr(quality.Units, "load", lambda path: bundles[path])
    return quality.measure_units({name: name for name in bundles}, corpus, "dev")


def test_units_that_are_phones_are_perfect(monkeypatch, known):
    corpus, truth = known
    found = measure(monkeypatch, corpus, {"phones": FakeUnits(truth, 8)})["phones"]
    assert found["without_silence"]["pnmi"] == pytest.approx(1.0)
    assert found["with_silence"]["phone_purity"] == 1.0
    assert found["without_silence"]["frames"] == sum((truth[name] > 0).sum() for name in corpus.phones)
    assert (found["layer"], found["clusters"], found["active"]) == (3, 8, 5)
    # All of dev is in use, the recording without phones too: five units, nearly as often each.
    counts = np.bincount(np.concatenate([truth[row.id] for row in corpus.split("dev")]))
    shares = counts / counts.sum()
    assert found["perplexity"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    changes = np.mean([(np.diff(truth[row.id]) != 0).sum() + 1 for row in corpus.split("dev")])
    assert found["units_a_second"] == pytest.approx(changes / (FRAMES / 50))
    assert found["bitrate_log2k"] == pytest.approx(3 * found["units_a_second"])
    assert 0 < found["bitrate_entropy"] <= math.log2(5) * found["units_a_second"]
    assert (found["dead"], found["source"]) == (3, "kmeans")
    # A change of phone is a change of unit, to the frame; pauses are phones too, but changes inside them none.
    assert found["boundaries"]["f1"] == found["boundaries_with_silence"]["r_value"] == 1.0
    clean = found["without_silence"]
    assert clean["information_corrected_bits"] == pytest.approx(
        clean["information_bits"] - clean["pnmi_chance"] * clean["phone_entropy_bits"]
    )
    # Who speaks does not change what is said: nothing is told about it.
    assert found["speaker"]["entropy_bits"] == pytest.approx(1.0)
    assert abs(found["speaker"]["bits"]) < 0.01
    # Runs of two to six frames: the past tells most of a frame, and next to nothing of a run.
    assert found["predictable_bits_a_frame"] > 0.8 > found["predictable_bits_a_run"] + 0.3


def test_units_that_say_nothing_score_nothing(monkeypatch, known):
    corpus, truth = known
    rng = np.random.default_rng(1)
    random = {name: rng.integers(0, 8, FRAMES) for name in truth}
    constant = {name: np.zeros(FRAMES, np.int64) for name in truth}
    found = measure(monkeypatch, corpus, {"random": FakeUnits(random, 8), "constant": FakeUnits(constant, 8)})
    assert found["random"]["without_silence"]["pnmi_corrected"] == pytest.approx(0.0, abs=0.02)
    assert found["random"]["predictable_bits_a_frame"] < 0.05
    assert found["constant"]["without_silence"]["pnmi"] == pytest.approx(0.0, abs=1e-9)
    assert found["constant"]["active"] == 1
    assert found["constant"]["perplexity"] == pytest.approx(1.0)
    assert found["constant"]["predictable_bits_a_frame"] == pytest.approx(0.0, abs=1e-3)


def test_units_that_are_the_speaker_are_told_from_those_that_are_the_phone(monkeypatch, known):
    corpus, _ = known
    voices = {row.id: np.full(FRAMES, "ab".index(row.speaker)) for row in corpus.recordings}
    found = measure(monkeypatch, corpus, {"voices": FakeUnits(voices, 2)})["voices"]
    assert found["speaker"]["plug_in_bits"] == pytest.approx(1.0)
    assert found["without_silence"]["information_corrected_bits"] < 0.02
    assert found["boundaries"]["found"] == found["boundaries"]["recall"] == 0
    alone = dataclasses.replace(corpus, recordings=tuple(dataclasses.replace(row, speaker=row.id)
                                                         for row in corpus.recordings))  # fmt: skip
    assert measure(monkeypatch, alone, {"voices": FakeUnits(voices, 2)})["voices"]["speaker"] is None


def test_changes_inside_pauses_are_counted_apart(monkeypatch, known):
    corpus, truth = known
    rng = np.random.default_rng(4)
    restless = {name: np.where(row == 0, rng.integers(5, 8, FRAMES), row) for name, row in truth.items()}
    found = measure(monkeypatch, corpus, {"restless": FakeUnits(restless, 8)})["restless"]
    assert found["boundaries"]["recall"] == 1.0
    assert found["boundaries"]["precision"] > found["boundaries_with_silence"]["precision"]


def test_the_table_of_phones_and_units(monkeypatch, known):
    corpus, truth = known
    tables = {}
    monkeypatch.setattr(quality.Units, "load", lambda path: FakeUnits(truth, 8))
    quality.measure_units(
        {"u": "u"}, corpus, "dev", lambda name, phones, counts: tables.update({name: (phones, counts)})
    )
    phones, counts = tables["u"]
    assert sorted(phones) == sorted(NAMES)
    assert counts.shape == (5, 8)
    for phone, row in zip(phones, counts, strict=True):
        assert row.argmax() == NAMES.index(phone)
        assert row.sum() == row.max() == sum((truth[name] == NAMES.index(phone)).sum() for name in corpus.phones)
    assert (np.diff(counts.sum(axis=1)) <= 0).all()


def test_mfcc_stand_beside_a_second_codebook_at_its_own_size(monkeypatch, known, tmp_path):
    corpus, _ = known
    corpus.manifest.write_text("any")
    headers = {
        "residual": {"source": "kmeans", "clusters": 50, "residual_clusters": 4},
        "large": {"source": "kmeans", "clusters": 100, "residual_clusters": 8},
        "mfcc": {"source": "mfcc", "clusters": 64},
        # Not plain: two codebooks of 10 are no baseline for a hundred units.
        "mfcc twice": {"source": "mfcc", "clusters": 10, "residual_clusters": 10},
    }
    monkeypatch.setattr(quality, "read_bundle", lambda path, _: ({}, {"units": headers[path]}))
    fitted = []
    monkeypatch.setattr(quality, "fit_units", lambda *given, **_: fitted.append(given[2].clusters))
    found = quality._baselines({name: name for name in headers}, corpus, tmp_path / "none yet")
    assert fitted == [100, 200, 256]
    assert list(found) == ["MFCC, K = 100", "MFCC, K = 200", "MFCC, K = 256"]
    text = quality.inventory_markdown({"large": {"clusters": 800}, "MFCC": {"source": "mfcc", "clusters": 256}})
    assert "compared with MFCC at K = 256" in text


def test_the_example_is_about_two_seconds_long_and_always_the_same(tiny_runs, tiny_corpus):
    from speechunits.audio.corpus import load_corpus
    from speechunits.config import CorpusConfig

    config = CorpusConfig(manifest=tiny_corpus / "manifest.tsv", phones=tiny_corpus / "phones.tsv")
    corpus = load_corpus(config)
    bundle = tiny_runs / "tiny" / "units.safetensors"
    example = quality.aligned_example(bundle, corpus, "dev")
    assert abs(example.duration_s - 2.0) == min(abs(row.duration_s - 2.0) for row in corpus.split("dev"))
    assert example == quality.aligned_example(bundle, corpus, "dev")
    assert list(example.phones) == list(corpus.phones[example.id])
    assert example.text
    assert (example.intervals[0].start_s, example.intervals[-1].end_s) == (0.0, example.duration_s)
    ends, starts = [run.end_s for run in example.intervals[:-1]], [run.start_s for run in example.intervals[1:]]
    assert ends == pytest.approx(starts)
    mute = Corpus(manifest=corpus.manifest, recordings=corpus.recordings, phones={})
    assert quality.aligned_example(bundle, mute, "dev") is None
    assert quality.aligned_example(bundle.with_name("none.safetensors"), corpus, "dev") is None
