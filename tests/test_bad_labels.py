"""Labels and budgets nobody can train on are refused before anything is trained."""

from dataclasses import replace

import pytest

from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.cell import Cell
from speechunits.config import RecipeConfig, ReductionConfig, build_config
from speechunits.errors import UsageError
from speechunits.setting import Setting
from speechunits.sweep import run_cell


def setting(tmp_path, texts):
    recordings = tuple(
        Recording(id=f"{split}{index}", audio=tmp_path / "x.wav", duration_s=30.0, split=split, text=text, speaker="s")
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
