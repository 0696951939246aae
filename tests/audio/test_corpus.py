"""A recipe's corpus: splits, tune, texts, and what is said about recordings that are missing or mislabelled."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from speechunits.audio.corpus import load_corpus, strip_marks
from speechunits.audio.manifest import Recording, write_manifest
from speechunits.config import CorpusConfig
from speechunits.errors import UsageError


def make(folder, count, *, speakers=8, seconds=0.5, **fields):
    recordings = []
    for index in range(count):
        path = folder / f"r{index:02d}.wav"
        soundfile.write(path, np.zeros(int(seconds * 16_000)), 16_000)
        recordings.append(
            Recording(
                id=path.stem, audio=path, duration_s=seconds, text=f"text {index}", speaker=f"s{index % speakers}",
                **fields,
            )
        )  # fmt: skip
    return recordings


def load(folder, recordings, **settings):
    write_manifest(folder / "manifest.tsv", recordings)
    return load_corpus(CorpusConfig(manifest=folder / "manifest.tsv", **settings))


@pytest.mark.parametrize(
    ("text", "bare"),
    [("wáŋgá", "waŋga"), ("ɔ̀nɛ́", "ɔnɛ"), ("ñandú", "nandu"), ("plain", "plain"), ("", ""), ("가", "가"), ("øß", "øß")],
)
def test_marks_are_stripped_and_letters_kept(text, bare):
    assert strip_marks(text) == bare


def test_texts_lose_their_marks_only_where_asked(tmp_path):
    recordings = [Recording(id=r.id, audio=r.audio, duration_s=r.duration_s, text="báŋ") for r in make(tmp_path, 3)]
    assert {r.text for r in load(tmp_path, recordings).recordings} == {"báŋ"}
    assert {r.text for r in load(tmp_path, recordings, strip_marks=True).recordings} == {"baŋ"}


def test_a_manifest_without_splits_is_split_by_speaker_and_tune_is_cut(tmp_path):
    corpus = load(tmp_path, make(tmp_path, 80))
    names = ("train", "tune", "dev", "test")
    assert sum(len(corpus.split(name)) for name in names) == 80
    people = {name: {r.speaker for r in corpus.split(name)} for name in names}
    assert people["dev"].isdisjoint(people["train"] | people["tune"] | people["test"])
    train_s = sum(r.duration_s for name in ("train", "tune") for r in corpus.split(name))
    assert 0 < sum(r.duration_s for r in corpus.split("tune")) <= 0.05 * train_s
    assert {r.text for r in corpus.split("tune")}.isdisjoint(r.text for r in corpus.split("train"))
    # What is held out is the same in every run.
    assert load(tmp_path, make(tmp_path, 80)).recordings == corpus.recordings


def test_few_speakers_are_warned_about(tmp_path, capsys):
    corpus = load(tmp_path, make(tmp_path, 20, speakers=2))
    assert corpus.split("dev")
    assert "warning: split by recording" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [('"a ""b"" c"', True), ('"yes, no"', True), ('"yes" and "no"', False), ('"yes"', False), ("a, b", False)],
)
def test_texts_that_a_spreadsheet_quoted_are_warned_about(tmp_path, capsys, text, told):
    recordings = make(tmp_path, 20)
    corpus = load(tmp_path, [replace(recordings[0], text=text), *recordings[1:]])
    assert text in {row.text for row in corpus.recordings}
    assert (f"manifest.tsv: 1 texts look quoted as in CSV (first r00: {text})" in capsys.readouterr().err) == told


def test_given_splits_are_kept(tmp_path):
    recordings = make(tmp_path, 10, split="train")
    recordings += [Recording(id=f"d{r.id}", audio=r.audio, duration_s=0.5, split="dev") for r in recordings[:3]]
    corpus = load(tmp_path, recordings)
    assert [r.id for r in corpus.split("dev")] == ["dr00", "dr01", "dr02"]
    assert {r.split for r in corpus.recordings} == {"train", "tune", "dev"}
    with pytest.raises(UsageError, match=r"no recording in split 'test'; its splits are: dev, train, tune"):
        corpus.split("test")


def test_a_wrong_duration_is_named_and_the_measured_one_used(tmp_path, capsys):
    recordings = make(tmp_path, 6, split="train")
    wrong = Recording(id="wrong", audio=recordings[0].audio, duration_s=9.0, split="train")
    corpus = load(tmp_path, [*recordings, wrong])
    assert "wrong: duration must be 0.500 s, but is 9.000 s instead" in capsys.readouterr().err
    assert {r.duration_s for r in corpus.recordings} == {0.5}


def test_recordings_that_cannot_be_read_are_refused_by_name_and_the_rest_goes_on(tmp_path, capsys):
    recordings = make(tmp_path, 6, split="train")
    (tmp_path / "r01.wav").unlink()
    (tmp_path / "r02.wav").write_text("no audio")
    corpus = load(tmp_path, recordings)
    assert sorted(r.id for r in corpus.recordings) == ["r00", "r03", "r04", "r05"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
    assert [any(name in line for line in lines) for name in ("r01.wav", "r02.wav", "r03.wav")] == [True, True, False]


def test_faults_of_the_manifest_are_listed_together(tmp_path):
    recordings = make(tmp_path, 2)
    write_manifest(tmp_path / "manifest.tsv", recordings)
    text = (tmp_path / "manifest.tsv").read_text()
    (tmp_path / "manifest.tsv").write_text(text + text.splitlines()[1] + "\nx\tx.wav\tlong\t\t\n")
    with pytest.raises(UsageError, match=r"(?s)2 fault.*the id 'r00' must be unique.*duration must be a number"):
        load_corpus(CorpusConfig(manifest=tmp_path / "manifest.tsv"))


def test_phones_are_read_by_id(tmp_path):
    (tmp_path / "phones.tsv").write_text("id\tstart\tend\tphone\nr00\t0.0\t0.2\ta\nr00\t0.2\t0.4\tSIL\n")
    corpus = load(tmp_path, make(tmp_path, 3), phones=tmp_path / "phones.tsv")
    assert [phone.label for phone in corpus.phones["r00"]] == ["a", "SIL"]
    with pytest.raises(UsageError, match=r"missing\.tsv does not exist\. check the path"):
        load(tmp_path, make(tmp_path, 3), phones=tmp_path / "missing.tsv")


@pytest.mark.parametrize("fields", [{}, {"split": "train"}])
def test_a_file_out_of_reach_moves_no_other(tmp_path, fields):
    recordings = make(tmp_path, 30, speakers=3, **fields)
    before = {row.id: row.split for row in load(tmp_path, recordings).recordings}
    (tmp_path / "r15.wav").unlink()
    after = {row.id: row.split for row in load(tmp_path, recordings).recordings}
    assert after == {name: split for name, split in before.items() if name != "r15"}
