"""The table of pseudo-text figures."""

from speechunits.report.statistics import statistics_markdown


def test_what_was_measured_is_shown():
    scores = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "r_value": 0.25}
    candidate = {"piece": "1-2", "count": 7, "recordings": 3, "mean_duration_s": 0.2134,
                 "places": [{"id": "take", "start_s": 1.5, "end_s": 1.7}]}  # fmt: skip
    text = statistics_markdown({"split": "dev", "zipf_slope": -0.987, "ngram_bits_a_unit": 3.0, "zipf": None,
                                "words": {"pieces": scores}, "candidates": [candidate]})  # fmt: skip
    lines = text.splitlines()
    assert "| Zipf slope | -0.99 |" in lines
    assert "| words, by pieces | 50.0 | 100.0 | 66.7 | 25.0 |" in lines
    assert "| 1-2 | 7 | 3 | 0.21 | take 1.50 |" in lines
    assert not any("recurrent" in line or "phones" in line for line in lines)
