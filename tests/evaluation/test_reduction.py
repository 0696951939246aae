import json
import math
from dataclasses import replace

import numpy as np
import pytest

from speechunits.config import ReductionConfig
from speechunits.evaluation.reduction import reduction
from speechunits.evaluation.score import Score, scores_from_json, scores_to_json, utterance_hash
from tests.reference.reduction import minutes_to_reach, reduction_interval

UTTERANCES = 40
LENGTH = 50
HASHES = tuple(utterance_hash(str(index), "salt") for index in range(UTTERANCES))


def score(side, minutes, rate, *, seed=0, split="dev", all_blank=False, actual=None):
    """Make a score whose CER is ``rate`` (a multiple of 1 / 2000), spread evenly over the utterances."""
    total = round(rate * UTTERANCES * LENGTH)
    errors = np.full(UTTERANCES, total // UTTERANCES)
    errors[: total % UTTERANCES] += 1
    return Score(
        side=side, minutes=minutes, seed=seed, minutes_actual=actual or minutes, split=split, hashes=HASHES,
        errors=tuple(map(int, errors)), lengths=(LENGTH,) * UTTERANCES, all_blank=all_blank,
    )  # fmt: skip


def sweep(pretrained, untrained, logmel, seeds=(0, 1, 2), blank=()):
    """Make the scores of {minutes: CER} curves, equal for all seeds and on dev and tune."""
    curves = {"pretrained": pretrained, "untrained": untrained, "logmel": logmel}
    return [
        score(side, minutes, rate, seed=seed, split=split, all_blank=side in blank)
        for side, curve in curves.items()
        for minutes, rate in curve.items()
        for seed in seeds
        for split in ("dev", "tune")
    ]


CONFIG = ReductionConfig(bootstrap=50)
BASELINE = {1: 0.8, 4: 0.6, 16: 0.4, 60: 0.2}


def test_known_answer():
    table = reduction(sweep({1: 0.4, 4: 0.3}, BASELINE, {1: 0.9, 4: 0.9, 16: 0.9, 60: 0.9}), CONFIG)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(16)  # the baseline reaches 40 % with 16 min
    assert table.cells[1].factor == pytest.approx(math.sqrt(16 * 60) / 4)  # half way in ln minutes
    assert {side for _, side in table.baseline.chosen} == {"untrained"}
    assert "16.0" in table.statement
    # All seeds and utterances agree: the interval is almost a point.
    assert table.headline.low == pytest.approx(16, rel=0.05)


def test_better_baseline_is_chosen_at_each_budget_on_tune():
    scores = sweep({1: 0.4}, {1: 0.7, 4: 0.6, 16: 0.3}, {1: 0.8, 4: 0.5, 16: 0.35})
    table = reduction(scores, CONFIG)
    assert table.baseline.chosen == (("1", "untrained"), ("4", "logmel"), ("16", "untrained"))
    # Dev alone cannot change the choice.
    scores = [s for s in scores if (s.side, s.minutes, s.split) != ("logmel", 16, "dev")]
    scores += [score("logmel", 16, 0.1, seed=seed) for seed in range(3)]
    assert reduction(scores, CONFIG).baseline.chosen[2] == ("16", "untrained")


def test_baselines_are_compared_over_the_seeds_that_both_have():
    scores = sweep({1: 0.3}, {1: 0.7, 16: 0.25}, {1: 0.8, 16: 0.35})
    # Seeds that the other one lacks, with far better luck than its first.
    scores += [score("logmel", 1, 0.1, seed=seed, split=split) for seed in (3, 4) for split in ("dev", "tune")]
    assert reduction(scores, CONFIG).baseline.chosen == (("1", "untrained"), ("16", "untrained"))
    apart = [s for s in scores if (s.side, s.minutes, s.seed in (3, 4)) != ("logmel", 1, False)]
    table = reduction(apart, CONFIG)
    assert table.headline.factor is None
    assert "the baselines at 1 min have no seed with scores of both on tune" in table.statement


def test_broken_baseline_cannot_win():
    dead = dict.fromkeys(BASELINE, 1.0)
    table = reduction(sweep({1: 0.3}, dead, dead, blank=("untrained", "logmel")), CONFIG)
    assert table.headline is not None
    assert table.headline.factor is table.headline.low is table.headline.high is None
    assert "all-blank at 4 of its 4 budgets" in table.statement

    weak = {1: 0.9, 4: 0.8, 16: 0.7, 60: 0.45}
    table = reduction(sweep({1: 0.3}, weak, weak), CONFIG)
    assert "must be below 40 %, but is 45 % instead" in table.statement


def test_one_broken_baseline_beside_a_good_one_changes_nothing():
    dead = dict.fromkeys(BASELINE, 1.0)
    table = reduction(sweep({1: 0.4}, BASELINE, dead, blank=("logmel",)), CONFIG)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(16)


def test_bad_pretrained_recogniser_is_undefined():
    scores = sweep({1: 0.45, 4: 0.3}, BASELINE, BASELINE)
    scores = [s for s in scores if (s.side, s.minutes, s.seed, s.split) != ("pretrained", 1, 2, "dev")]
    scores.append(score("pretrained", 1, 0.505, seed=2))
    table = reduction(scores, CONFIG)
    assert str(table.headline) == "undefined"
    assert "50 %" in table.statement
    assert table.cells[1].factor is not None


def test_censored_above_gives_a_lower_limit_only():
    scores = sweep({1: 0.3}, BASELINE, BASELINE)
    scores = [s for s in scores if (s.side, s.seed, s.split) != ("pretrained", 2, "dev")]
    scores.append(score("pretrained", 1, 0.1, seed=2))
    cell = reduction(scores, CONFIG).headline
    assert cell is not None
    assert cell.factor is None
    assert cell.high is None
    assert cell.seeds[2].censored == "above"
    assert cell.seeds[2].factor == pytest.approx(60)
    assert cell.low is not None
    assert cell.low < 60
    assert str(cell).startswith("> ")


def test_censored_below_gives_an_upper_limit_only():
    table = reduction(sweep({1: 0.5}, {1: 0.45, 4: 0.3}, {1: 0.9, 4: 0.9}), CONFIG)
    assert table.headline is not None
    assert (table.headline.factor, table.headline.low) == (None, None)
    assert table.headline.high == pytest.approx(1, rel=0.05)
    assert "at most" in table.statement


def test_seeds_cut_off_on_both_sides_leave_the_cell_undefined():
    scores = [s for s in sweep({1: 0.45}, BASELINE, {}) if s.side != "pretrained" or s.seed == 0]
    scores += [score("pretrained", 1, 0.1, seed=1), score("pretrained", 1, 0.45, seed=2)]
    low = {1: 0.4, 4: 0.35, 16: 0.3, 60: 0.25}
    scores = [s for s in scores if (s.side, s.seed) != ("untrained", 2)]
    scores += [score("untrained", minutes, rate, seed=2) for minutes, rate in low.items()]
    cell = reduction(scores, CONFIG).headline
    assert [seed.censored for seed in cell.seeds] == ["", "above", "below"]
    assert (cell.factor, cell.low, cell.high) == (None, None, None)
    assert "starts below that of others" in cell.reason


@pytest.mark.parametrize(
    ("rate", "limits", "shown"), [(0.1, (60, None), "never reaches"), (0.45, (None, 1), "is already as good")]
)
def test_one_seed_that_is_cut_off_has_the_limit_of_its_measurement(rate, limits, shown):
    baseline = BASELINE if rate < 0.2 else {1: 0.4, 4: 0.35}
    cell = reduction(sweep({1: rate}, baseline, {}, seeds=(0,)), CONFIG).headline
    assert cell.factor is None
    assert (cell.low, cell.high) == pytest.approx(limits)
    assert shown in cell.reason
    assert cell.reason.endswith("one seed: without its uncertainty")


def test_a_baseline_is_broken_from_half_of_its_budgets_and_from_exactly_the_limit():
    def statement(blank, last=0.2):
        rates = BASELINE | {60: last}
        # Two of three seeds are more than half of them, one of three is less.
        return reduction(
            [replace(s, all_blank=s.minutes in blank and s.seed != 0) for s in sweep({1: 0.4}, rates, {})], CONFIG
        ).statement

    assert "all-blank at 2 of its 4 budgets" in statement((1, 4))
    assert "16.0" in statement((1,))
    assert "must be below 40 %, but is 40 % instead" in statement((), last=0.4)
    assert "all-blank" not in statement((), last=0.3995)
    assert "must be below" not in statement((), last=0.3995)
    two = [replace(s, all_blank=s.seed == 0) for s in sweep({1: 0.4}, BASELINE, {}, seeds=(0, 1))]
    assert "all-blank at 4 of its 4" in reduction(two, CONFIG).statement


def test_non_monotonic_baseline_is_smoothed():
    rates = [0.8, 0.5, 0.6, 0.2]
    table = reduction(sweep({1: 0.4}, dict(zip(BASELINE, rates, strict=True)), dict.fromkeys(BASELINE, 0.9)), CONFIG)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(minutes_to_reach(list(BASELINE), rates, 0.4))


def test_all_labels_stand_at_their_real_minutes():
    scores = sweep({1: 0.4}, {1: 0.8, 4: 0.6}, {1: 0.9, 4: 0.9})
    scores += [score("untrained", None, 0.2, seed=seed, split=split, actual=50.0)
               for seed in range(3) for split in ("dev", "tune")]  # fmt: skip
    table = reduction(scores, CONFIG)
    assert table.baseline.budgets[-1] == ("all", 50.0)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(math.sqrt(4 * 50))


def test_one_seed_has_no_interval_and_smoke_no_factor():
    scores = sweep({1: 0.4}, BASELINE, BASELINE, seeds=(0,))
    table = reduction(scores, CONFIG)
    assert table.headline is not None
    assert (table.headline.low, table.headline.high) == (None, None)
    assert "one seed" in table.statement
    assert reduction(scores, CONFIG, smoke=True).statement == "too small to measure a factor"


def test_missing_runs_are_said():
    table = reduction(sweep({4: 0.3}, BASELINE, {}), CONFIG)
    assert table.headline is None
    assert "not trained on the headline budget" in table.statement
    assert "'logmel' was not trained" in table.notes[0]
    assert "no baseline" in reduction(sweep({1: 0.3}, {}, {}), CONFIG).statement


def test_seed_without_its_own_baseline_meets_the_mean():
    scores = [s for s in sweep({1: 0.4}, BASELINE, {}) if (s.side, s.minutes, s.seed) != ("untrained", 60, 1)]
    table = reduction(scores, CONFIG)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(16)


def test_different_utterances_and_doubled_runs_are_refused():
    scores = sweep({1: 0.4}, BASELINE, BASELINE)
    other = score("pretrained", 4, 0.3)
    other = Score(**(vars(other) | {"hashes": HASHES[::-1]}))
    with pytest.raises(ValueError, match="same utterances"):
        reduction([*scores, other], CONFIG)
    with pytest.raises(ValueError, match="there twice"):
        reduction([*scores, scores[0]], CONFIG)


def test_language_models_are_kept_apart():
    scores = sweep({1: 0.4}, BASELINE, BASELINE)
    scores += [Score(**(vars(s) | {"lm": "own", "errors": (0,) * UTTERANCES})) for s in scores]
    table = reduction(scores, CONFIG)
    assert table.headline is not None
    assert table.headline.factor == pytest.approx(16)


def test_json_round_trip_and_hashes():
    scores = sweep({1: 0.4}, BASELINE, BASELINE, seeds=(0,))
    assert scores_from_json(json.loads(json.dumps(scores_to_json(scores)))) == scores
    assert utterance_hash("a", "x") != utterance_hash("a", "y")
    assert utterance_hash("a", "x") == utterance_hash("a", "x")


def test_same_seed_same_table():
    scores = simulated(np.random.default_rng(0))
    assert reduction(scores, CONFIG, seed=3) == reduction(scores, CONFIG, seed=3)


MINUTES = (1, 3, 10, 30, 100)


def simulated(generator, *, utterances=80, seed_spread=0.06):
    """Make a sweep with a true factor of 6 at 3 min: CER = .8 − .15 ln n from scratch, and the same at 6 n pretrained.

    Seeds move whole curves; utterances are harder or easier for every run, and each run errs on its own besides.
    """
    lengths = generator.integers(20, 80, utterances)
    hardness = generator.normal(0, 0.25, utterances)
    scores = []
    for seed in range(3):
        for side, gain in (("pretrained", 6), ("untrained", 1)):
            for minutes in MINUTES if side == "untrained" else (3,):
                mean = 0.8 - 0.15 * (math.log(minutes * gain) + generator.normal(0, seed_spread / 0.15))
                own = hardness + generator.normal(0, 0.1, utterances)
                errors = generator.binomial(lengths, np.clip(mean * np.exp(own - 0.036), 0, 1))
                scores.append(
                    Score(side=side, minutes=minutes, seed=seed, minutes_actual=minutes, split="dev",
                          hashes=tuple(map(str, range(utterances))), errors=tuple(map(int, errors)),
                          lengths=tuple(map(int, lengths)))
                )  # fmt: skip
    return scores


def test_a_headline_of_a_fraction_of_a_minute_is_found():
    # The mean of three times .7 is not .7.
    rows = [replace(score, minutes=0.7) if score.minutes == 3 and score.side == "pretrained" else score
            for score in simulated(np.random.default_rng(0))]  # fmt: skip
    table = reduction(rows, ReductionConfig(bootstrap=10, minutes=(0.7,), headline_minutes=0.7))
    assert table.headline is not None
    assert table.headline.label == "0.7"


def test_the_interval_is_that_of_its_formula():
    scores = simulated(np.random.default_rng(4))
    cell = reduction(scores, ReductionConfig(bootstrap=40, minutes=(3,), headline_minutes=3), seed=9).headline
    own = [score for score in scores if score.side == "pretrained"]
    curves = [{score.minutes: score.errors for score in scores if score.side == "untrained" and score.seed == seed}
              for seed in range(3)]  # fmt: skip
    generator, size = np.random.default_rng(9), len(own[0].lengths)
    draws = [generator.integers(size, size=size).tolist() for _ in range(40)]
    expected = reduction_interval(3, [score.errors for score in own], curves, own[0].lengths, draws)
    assert not any(seed.censored for seed in cell.seeds)
    assert (cell.factor, cell.low, cell.high) == pytest.approx(expected, rel=1e-9)


def test_interval_covers_the_true_factor():
    generator = np.random.default_rng(1)
    config = ReductionConfig(bootstrap=60, minutes=(3,), headline_minutes=3)
    inside = 0
    trials = 150
    for _ in range(trials):
        cell = reduction(simulated(generator), config).headline
        assert cell is not None
        low = cell.low or 0.0
        high = cell.high or math.inf
        inside += low <= 6 <= high
    # 95 % ± 3 standard errors of 150 trials, and one more for the clipped ends of the curve.
    assert 0.89 <= inside / trials < 1.0


def test_baselines_of_equal_compute_are_kept_apart():
    scores = sweep({1: 0.4}, BASELINE, {})
    better = {minutes: rate - 0.1 for minutes, rate in BASELINE.items()}
    equal = [Score(**(vars(s) | {"compute": "equal"})) for s in sweep({}, better, {})]
    assert reduction([*scores, *equal], CONFIG).headline.factor == pytest.approx(16)
    table = reduction([*scores, *equal], CONFIG, compute="equal")
    assert table.headline.factor == pytest.approx(minutes_to_reach(list(better), list(better.values()), 0.4))
