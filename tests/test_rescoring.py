"""Rows with language models: which texts they are of, how they are tuned, what is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from speechunits import rescoring
from speechunits.asr.posteriors import SavedPosteriors
from speechunits.asr.tokens import Tokenizer
from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.cell import Cell
from speechunits.config import LanguageConfig, ReductionConfig, SynthConfig
from speechunits.errors import UsageError
from speechunits.rescoring import add_language_rows, declared_texts, rescore, text_model
from speechunits.setting import Setting
from speechunits.sweep import cell_key

TOKENIZER = Tokenizer(["", " ", "a", "b"])
TEXTS = {
    "train": ["ab ab", "ab ab ab", "ab", "aba ab"], "tune": ["ab ab ab ab", "ab"], "dev": ["ab aba", "ab ab"],
    "test": ["aba aba"],
}  # fmt: skip
LANGUAGE = LanguageConfig(rows=("own", "text"), order=3, weights=(0.0, 1.0), bonuses=(0.0, 0.5), width=4)


def heard(text, seed):
    """Make posteriors that spell a text but for letters, which are told apart badly."""
    generator = np.random.default_rng(seed)
    rows = []
    for letter in text:
        row = np.full(4, 0.02)
        if letter == " ":
            row[1] = 0.94
        else:
            right = 0.2 + 0.6 * generator.random()
            row[[2, 3]] = [right, 0.96 - right] if letter == "a" else [0.96 - right, right]
        rows += [row, np.array([0.94, 0.02, 0.02, 0.02])]
    return np.log(np.array(rows)).astype(np.float32)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    recordings = tuple(
        Recording(id=f"{split}{index}", audio=tmp_path / "x.wav", duration_s=15.0, split=split, text=text, speaker="s")
        for split, texts in TEXTS.items()
        for index, text in enumerate(texts)
    )
    corpus = Corpus(manifest=tmp_path / "m.tsv", recordings=recordings, phones={})

    def read(path):
        split = path.name.split(".")[0]
        rows = {row.id: heard(row.text, index) for index, row in enumerate(corpus.split(split))}
        return SavedPosteriors(key=f"key of {path.parent.name}", tokenizer=TOKENIZER, heard=rows)

    monkeypatch.setattr(rescoring, "read_posteriors", read)
    monkeypatch.setattr(Setting, "has_posteriors", lambda *_: True)
    monkeypatch.setattr("speechunits.sweep.file_hash", str)
    config = ReductionConfig(minutes=(0.5,), baseline_minutes=(0.5,), headline_minutes=0.5, language=LANGUAGE)
    return Setting(corpus=corpus, config=config, encoder=tmp_path / "e", folder=tmp_path / "cells")


def with_language(setting, **changes):
    return replace(setting, config=replace(setting.config, language=replace(LANGUAGE, **changes)))


CELLS = [Cell(side="pretrained", minutes=0.5, seed=0), Cell(side="logmel", minutes=0.5, seed=0)]


def test_every_cell_gets_every_row_tuned_on_tune_alone(setting):
    results = {"scores": []}
    add_language_rows(results, CELLS, setting)
    found = {(score["side"], score["lm"], score["split"]) for score in results["scores"]}
    assert found == {(side, lm, split) for side in ("pretrained", "logmel") for lm in ("own", "text")
                     for split in ("dev", "tune")}  # fmt: skip
    assert results["language"]["trials"] == 4
    for cell in CELLS:
        for row in ("own", "text"):
            saved = json.loads(setting.kept_at(cell, cell_key(cell, setting), f".lm-{row}.json").read_text())
            best = min(trial["tune_cer"] for trial in saved["trials"])
            assert len(saved["trials"]) == 4
            chosen = {"weight": saved["weight"], "bonus": saved["bonus"], "tune_cer": best}
            assert chosen in saved["trials"]
            assert results["language"]["chosen"][row][cell.name] == [saved["weight"], saved["bonus"]]
            tune = next(score for score in saved["scores"] if score["split"] == "tune")
            assert sum(tune["errors"]) / sum(tune["lengths"]) == best
    # The same posteriors, the same grid: both sides come out alike, and the model helps.
    assert len({json.dumps(score["errors"]) for score in results["scores"]
                if (score["lm"], score["split"]) == ("text", "dev")}) == 1  # fmt: skip
    greedy = [trial["tune_cer"] for trial in saved["trials"] if trial["weight"] == trial["bonus"] == 0]
    assert best < greedy[0]


def test_what_is_done_is_kept_until_something_changes(setting, monkeypatch):
    first = list(rescore(CELLS, setting))
    calls = []
    monkeypatch.setattr(rescoring, "LanguageScorer", lambda *_: calls.append(1))
    assert list(rescore(CELLS, setting)) == first
    assert not calls
    monkeypatch.undo()


def test_cells_without_posteriors_leave_no_rows(setting, monkeypatch, capsys):
    monkeypatch.setattr(Setting, "has_posteriors", lambda setting, cell, key: cell.side == "logmel")
    assert list(rescore(CELLS, setting)) == []
    said = capsys.readouterr().err
    assert "1 of 2 trainings have no posteriors" in said
    assert "train_again=true" in said


def test_declared_texts_are_in_no_held_out_split(setting, tmp_path):
    assert sorted(declared_texts(setting, None)) == sorted(set(TEXTS["train"]) - {"ab", "ab ab"})
    (tmp_path / "t.txt").write_text("ab  aba\nbab\n\naba aba\n")
    assert declared_texts(with_language(setting, text=str(tmp_path / "t.txt")), None) == ["bab"]
    (tmp_path / "t.txt").write_text("ab aba\n")
    with pytest.raises(UsageError, match="holds no text that tune, dev and test do not"):
        declared_texts(with_language(setting, text=str(tmp_path / "t.txt")), None)
    synthetic = declared_texts(with_language(setting, text="synthetic", sentences=50), SynthConfig())
    assert len(set(synthetic)) == 50
    with pytest.raises(UsageError, match="the corpus is not"):
        declared_texts(with_language(setting, text="synthetic"), None)


def test_the_model_of_declared_texts_is_made_once(setting):
    path = text_model(setting, None)
    before = path.stat().st_mtime_ns
    assert text_model(setting, None).stat().st_mtime_ns == before
    text_model(with_language(setting, order=2), None)
    assert path.stat().st_mtime_ns != before


def test_a_model_over_another_alphabet_is_refused(setting, tmp_path):
    (tmp_path / "t.txt").write_text("да нет\n")
    other = with_language(setting, rows=("text",), text=str(tmp_path / "t.txt"))
    with pytest.raises(UsageError, match="lacks 'a', 'b'; only the model has"):
        list(rescore(CELLS, other))
