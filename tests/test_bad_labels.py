"""Labels and budgets nobody can train on are refused before anything is trained."""

from dataclasses import replace

import pytest

from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording
from speechunits.cell import Cell, cells
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
    with pytest.raises(UsageError, match=r"a budget of 0.5 min of labels .* there are 0.00 min"):
        run_cell(CELL, setting(tmp_path, GOOD | {"train": [None, ""]}))
    with pytest.raises(UsageError, match="must hold at least one character, but all are empty"):
        run_cell(replace(CELL, minutes=None), setting(tmp_path, GOOD | {"train": ["  ", None]}))


def test_a_budget_that_the_corpus_does_not_hold(tmp_path):
    with pytest.raises(UsageError, match=r"a budget of 4 min of labels .* there are 1.00 min; lower the budget"):
        run_cell(replace(CELL, minutes=4.0), setting(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"minutes": [2, 4], "headline_minutes": 1},
            r"headline_minutes must be one of minutes, \[2.0, 4.0\]",
        ),
        ({"minutes": [1, 1]}, r"minutes must be above 0 and differ, but are \[1.0, 1.0\]"),
        ({"minutes": [1, -4]}, r"minutes must be above 0 and differ"),
        ({"baseline_minutes": [0, 4]}, r"baseline_minutes must be above 0"),
        ({"baseline_minutes": []}, "baseline_minutes must name at least one budget"),
        ({"language": {"rows": ["own"], "weights": []}}, "must name at least one value each"),
        ({"language": {"rows": ["mine"]}}, "must be one of own, text, but is 'mine'"),
        ({"language": {"weights": [-1]}}, "weights at least 0"),
    ],
)
def test_contradictory_budgets_are_refused(changes, message):
    tree = {"name": "x", "corpus": {"manifest": "m.tsv"}, "reduction": changes}
    with pytest.raises(UsageError, match=message):
        build_config(RecipeConfig, tree)


def test_the_headline_has_more_seeds_with_baselines_of_their_own():
    config = ReductionConfig(minutes=(1, 4), baseline_minutes=(1, 16), headline_minutes=1, seeds=1, headline_seeds=3)
    names = [cell.name for cell in cells(config)]
    assert names[:6] == ["pretrained-1-0", "pretrained-4-0", "untrained-1-0", "untrained-16-0", "logmel-1-0",
                         "logmel-16-0"]  # fmt: skip
    assert names[6:11] == ["pretrained-1-1", "untrained-1-1", "untrained-16-1", "logmel-1-1", "logmel-16-1"]
    assert len(names) == 16
    # What was trained with fewer seeds is among them, under the same names.
    assert {cell.name for cell in cells(replace(config, headline_seeds=0))} <= set(names)


def test_baselines_of_equal_compute_come_last():
    config = ReductionConfig(minutes=(1,), baseline_minutes=(1, 4), seeds=2, equal_compute_seeds=1)
    names = [cell.name for cell in cells(config)]
    assert names[-4:] == ["untrained-1-0-equal", "untrained-4-0-equal", "logmel-1-0-equal", "logmel-4-0-equal"]
    assert not any("equal" in name for name in names[:-4])
