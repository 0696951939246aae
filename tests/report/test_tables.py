import pytest

from speechunits.report.tables import markdown, quality_markdown, reduction_markdown, reduction_rows
from speechunits.results import mean_minutes
from tests.report.example import CURVES, QUALITY, table


def test_markdown_escapes_bars():
    assert markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"


def test_reduction_table_has_a_row_a_budget_and_a_column_a_side():
    made = table()
    header, rows = reduction_rows(made)
    assert len(header) == 5
    assert [row[0] for row in rows] == ["1 min", "4 min", "16 min", "60 min"]
    assert rows[3][1] == "–"
    assert rows[0][4] == str(made.headline)
    assert [[cell.endswith("*") for cell in row[2:4]] for row in rows] == [[False, True]] * 3 + [[True, False]]


def test_recognisers_that_read_units_have_a_column_of_their_own():
    header, rows = reduction_rows(table({**CURVES, "units": {1: 0.7, 4: 0.6}}))
    assert header[-2] == "CER %, small network that reads units"
    rates = [row[-2] for row in rows]
    assert rates[2:] == ["–", "–"]
    assert [float(rate.split()[0]) for rate in rates[:2]] == [pytest.approx(70, abs=2), pytest.approx(60, abs=2)]
    # They are no baseline: the better of those two is marked, of one alone nothing is.
    only = {side: curve for side, curve in CURVES.items() if side != "untrained"}
    assert "*" not in str(reduction_rows(table({**only, "units": {1: 0.7}}))[1])
    both = {**CURVES, "untrained": {1: CURVES["untrained"][1]}}
    assert ["*" in str(row) for row in reduction_rows(table(both))[1]] == [True, False, False, False]


def test_reduction_markdown_says_the_result_or_why_there_is_none():
    assert "**Result: at 1 min of labels, pretraining saves a factor of" in reduction_markdown(table())
    broken = {**CURVES, "untrained": {1: 0.9, 60: 0.8}, "logmel": {1: 0.9, 60: 0.8}}
    text = reduction_markdown(table(broken))
    assert "undefined: the baseline's error rate at its largest budget (60 min) must be below 40 %" in text
    assert "\n4 min, 16 min: the baseline's error rate at its largest budget" in text
    assert "too small to measure" in reduction_markdown(table(smoke=True))


def test_other_conditions_have_a_row_of_the_headline_each():
    made = table()
    better = {side: {minutes: rate - 0.05 for minutes, rate in curve.items()} for side, curve in CURVES.items()}
    text = reduction_markdown(
        made, {("own", ""): table(better), ("", "equal"): table({**CURVES, "pretrained": {4: 0.3}})}
    )
    rows = [line for line in text.splitlines() if line.startswith(("| no language", "| n-gram"))]
    assert [row.split(" | ")[0] for row in rows] == [
        "| no language model", "| n-gram on the budget's own transcripts",
        "| no language model, baselines with pretraining's FLOPs",
    ]  # fmt: skip
    assert str(made.headline) in rows[0]
    assert rows[2].endswith("| – | – | – |")
    assert "other conditions" not in reduction_markdown(made)


def test_what_a_training_took_is_said_of_the_sides_that_know():
    saved = {"wall_s": {"pretrained-1-0": 300.0, "pretrained-4-0": 420.0, "logmel-1-0": 90.0}}
    text = reduction_markdown(table(), minutes=mean_minutes(saved))
    assert "Minutes of wall clock a training, on average: pretrained 6.0, small log-mel network 1.5." in text
    assert "wall clock" not in reduction_markdown(table(), minutes=mean_minutes({}))


def test_self_training_and_phones_are_named_for_what_they_are():
    text = reduction_markdown(table(), audio_hours=8.0, rounds=2, rate="PER")
    assert "trained again, 2 times: no factor of labels alone" in text
    assert "PER %, pretrained" in text
    assert "CER" not in text
    assert "elf-training" not in reduction_markdown(table(), audio_hours=8.0)


def test_quality_table_shows_missing_measures_as_such():
    text = quality_markdown({**QUALITY, "codebook": {"clusters": 320}})
    assert "| units | 100 | 3 | 52.0 | 47.0 | 50.0 | 3.10 | 100 |" in text
    assert "| codebook | 320 | – | – | – | – | – | – |" in text
