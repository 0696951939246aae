"""Which trainings a sweep is made of, and in which order."""

from dataclasses import replace

from speechunits.cell import cells, further, needed
from speechunits.config import ReductionConfig
from speechunits.evaluation.score import Score


def test_the_cells_and_their_order():
    config = ReductionConfig(minutes=(1, 4), baseline_minutes=(0.5, 1, 4), all_labels=True, headline_minutes=4, seeds=2)
    names = [cell.name for cell in cells(config)]
    assert names[:11] == [
        "pretrained-4-0", "pretrained-1-0", "pretrained-all-0",
        "untrained-4-0", "untrained-0.5-0", "untrained-1-0", "untrained-all-0",
        "logmel-4-0", "logmel-0.5-0", "logmel-1-0", "logmel-all-0",
    ]  # fmt: skip
    assert names[11:] == [name[:-1] + "1" for name in names[:11]]
    assert len(set(names)) == 22
    assert len(cells(ReductionConfig(minutes=(1,), baseline_minutes=(1, 4), seeds=3))) == 3 * (1 + 2 + 2)


def test_above_a_hundred_minutes_the_untrained_side_has_one_seed():
    config = ReductionConfig(minutes=(1,), baseline_minutes=(1, 300), all_labels=True, seeds=2)
    names = [cell.name for cell in cells(config, train_minutes=500)]
    assert {"untrained-300-0", "untrained-all-0", "untrained-1-1"} <= set(names)
    assert not {"untrained-300-1", "untrained-all-1"} & set(names)
    assert {"logmel-300-1", "logmel-all-1", "pretrained-all-1"} <= set(names)
    assert "untrained-all-1" in [cell.name for cell in cells(config, train_minutes=90)]


def test_the_headline_has_more_seeds_with_baselines_of_their_own():
    config = ReductionConfig(minutes=(1, 4), baseline_minutes=(1, 16), headline_minutes=1, seeds=1, headline_seeds=3)
    names = [cell.name for cell in cells(config)]
    assert names[:6] == ["pretrained-1-0", "pretrained-4-0", "untrained-1-0", "untrained-16-0", "logmel-1-0",
                         "logmel-16-0"]  # fmt: skip
    assert names[6:11] == ["pretrained-1-1", "untrained-1-1", "untrained-16-1", "logmel-1-1", "logmel-16-1"]
    assert len(names) == 16
    # What was trained with fewer seeds is among them, under the same names.
    assert {cell.name for cell in cells(replace(config, headline_seeds=0))} <= set(names)


def test_further_seeds_train_only_the_baseline_that_the_others_chose():
    config = ReductionConfig(minutes=(1, 4), baseline_minutes=(1, 16), seeds=2, headline_seeds=3, equal_compute_seeds=3)
    todo = cells(config)
    rates = {("untrained", 1): 60, ("logmel", 1): 50, ("untrained", 16): 20, ("logmel", 16): 30}

    def scored(cell, *, on_tune):
        rate = rates.get((cell.side, cell.minutes), 40)
        return [
            Score(side=cell.side, minutes=cell.minutes, seed=cell.seed, minutes_actual=1, split=split, hashes=("a",),
                  errors=(errors,), lengths=(100,), compute=cell.compute)
            for split, errors in (("dev", 100 - rate), ("tune", rate if on_tune else 100 - rate))
        ]  # fmt: skip

    # Neither dev nor the baselines of equal compute, which here say the opposite, nor further seeds have a say.
    scores = [row for cell in todo for row in scored(cell, on_tune=not (cell.compute or further(cell, config)))]
    left_out = [cell.name for cell in todo if cell not in needed(todo, scores, config)]
    assert left_out == ["untrained-1-2", "logmel-16-2"]
    # Without scores to choose by, both are trained.
    assert needed(todo, [], config) == todo


def test_baselines_of_equal_compute_come_last():
    config = ReductionConfig(minutes=(1,), baseline_minutes=(1, 4), seeds=2, equal_compute_seeds=1)
    names = [cell.name for cell in cells(config)]
    assert names[-4:] == ["untrained-1-0-equal", "untrained-4-0-equal", "logmel-1-0-equal", "logmel-4-0-equal"]
    assert not any("equal" in name for name in names[:-4])
