"""Labels and budgets nobody can train on are refused before anything is trained."""

import json
from dataclasses import replace

import pytest
import torch

from speechunits import finetuning
from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.cell import Cell, summarised
from speechunits.config import RecipeConfig, ReductionConfig, build_config
from speechunits.engine.train import TrainingResult
from speechunits.errors import UsageError
from speechunits.setting import Setting
from speechunits.sweep import run_cell
from speechunits.units.bundle import read_bundle


def setting(tmp_path, texts, seconds=30.0):
    recordings = tuple(
        Recording(
            id=f"{split}{index}", audio=tmp_path / "x.wav", duration_s=seconds, split=split, text=text, speaker="s"
        )
        for split, own in texts.items()
        for index, text in enumerate(own)
    )
    corpus = Corpus(manifest=tmp_path / "m.tsv", recordings=recordings, phones={})
    return Setting(corpus=corpus, config=ReductionConfig(), encoder=tmp_path / "e", folder=tmp_path / "cells")


GOOD = {"train": ["ab", "ba"], "tune": ["ab"], "dev": ["ab", "b"]}
CELL = Cell(side="logmel", minutes=0.5, seed=0)


@pytest.mark.parametrize("text", [None, "", "  "])
@pytest.mark.parametrize("split", ["dev", "tune"])
def test_a_held_out_split_without_transcripts(tmp_path, split, text):
    with pytest.raises(UsageError, match=f"error rates on {split} need its transcripts, but none of its 2"):
        run_cell(CELL, setting(tmp_path, GOOD | {split: [text, text]}))
    assert not (tmp_path / "cells").exists()


def test_one_recogniser_is_trained_without_held_out_transcripts(tmp_path, monkeypatch):
    """Who has two minutes of labels has no others: the budget ends the training, and nothing is scored."""
    heard = []

    def train(recognizer, **arguments):
        heard.append(arguments["held_out"])
        return TrainingResult(steps=1, total_steps=1, audio_hours=0.1, wall_s=1.0, history=arguments["folder"] / "m")

    monkeypatch.setattr(finetuning, "train", train)
    texts = {"train": GOOD["train"], "tune": [None, ""]}
    (tmp_path / "m.tsv").touch()
    alone = replace(setting(tmp_path, texts, seconds=15.0), unscored=True)
    assert run_cell(CELL, alone, keep=tmp_path / "asr.safetensors") == []
    assert heard == [[]]
    assert read_bundle(tmp_path / "asr.safetensors", "recognizer")
    assert summarised(CELL, [], alone.config) == "logmel-0.5-0: CER unknown, for want of held-out transcripts"
    with pytest.raises(UsageError, match="no recording in split 'dev'"):
        run_cell(CELL, setting(tmp_path, texts))


def test_what_has_more_text_than_speech_is_named_and_counted(tmp_path, monkeypatch, capsys):
    """The file may be long enough: the pauses at its ends are not heard."""
    never = {"train0"}

    def train(recognizer, **arguments):
        for row in arguments["train"]:
            recognizer.alignments.note((row.id,), torch.tensor([row.id not in never]))
        return TrainingResult(steps=1, total_steps=1, audio_hours=0.1, wall_s=1.0, history=arguments["folder"] / "m")

    monkeypatch.setattr(finetuning, "train", train)
    alone = replace(setting(tmp_path, GOOD | {"dev": [None], "tune": [None]}, seconds=15.0), unscored=True)
    run_cell(CELL, alone)
    saved = json.loads(next((tmp_path / "cells").glob("*.json")).read_text())
    assert saved["outcome"]["left_out"] == 1
    assert "train0 taught nothing: its text needs more frames than the speech in it has" in capsys.readouterr().err
    never.add("train1")
    with pytest.raises(UsageError, match="none of the 2 labelled recordings could be trained on"):
        run_cell(replace(CELL, seed=1), alone)


def test_no_transcripts_to_train_on(tmp_path):
    for minutes in (CELL.minutes, None):
        with pytest.raises(UsageError, match=r"none of its 2 recordings has one; .*manifest FOLDER --labels DIR"):
            run_cell(replace(CELL, minutes=minutes), setting(tmp_path, GOOD | {"train": [None, ""]}))
    with pytest.raises(UsageError, match="must hold at least one character, but all are empty"):
        run_cell(replace(CELL, minutes=None), setting(tmp_path, GOOD | {"train": ["  ", None]}))


def test_a_budget_that_the_corpus_does_not_hold(tmp_path):
    with pytest.raises(UsageError, match=r"a budget of 4 min of labels .* there are 1.00 min; .* --minutes all"):
        run_cell(replace(CELL, minutes=4.0), setting(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"minutes": [2, 4], "headline_minutes": 1},
            r"headline_minutes must be one of minutes, \[2.0, 4.0\]",
        ),
        ({"minutes": [1, 1]}, r"minutes must differ, but are \[1.0, 1.0\]"),
        ({"minutes": [1, -4]}, r"minutes must be above 0, but is \[1.0, -4.0\]"),
        ({"baseline_minutes": [0, 4]}, r"baseline_minutes must be above 0"),
        ({"baseline_minutes": []}, "baseline_minutes must name at least one budget"),
        ({"language": {"rows": ["own"], "weights": []}}, "must name at least one value each"),
        ({"language": {"rows": ["mine"]}}, "must be one of own, text, but is 'mine'"),
        ({"language": {"weights": [-1]}}, "weights must be at least 0"),
    ],
)
def test_contradictory_budgets_are_refused(changes, message):
    tree = {"name": "x", "corpus": {"manifest": "m.tsv"}, "reduction": changes}
    with pytest.raises(UsageError, match=message):
        build_config(RecipeConfig, tree)
