"""The table of inventories: every figure by name, nothing invented, a warning where K is too large."""

import numpy as np

from speechunits.report.inventory import inventory_markdown, ordered_shares, plot_phones


def test_bundles_stand_side_by_side():
    small = {"clusters": 100, "layer": 3, "without_silence": {"pnmi": 0.4123}, "speaker": None, "active": 99, "dead": 1}
    large = {"clusters": 1000, "layer": None, "without_silence": {"pnmi": 0.9}, "speaker": {"bits": 0.0314}}
    lines = inventory_markdown({"small": small, "large": large}).splitlines()
    assert lines[0] == "| figure | small | large |"
    assert "| PNMI % | 41.2 | 90.0 |" in lines
    assert "| I(unit; speaker), bits, corrected | – | 0.031 |" in lines
    assert "| dead units | 1 | – |" in lines
    assert "PNMI and purity of large mean little" in lines[-1]
    assert "mean little" not in inventory_markdown({"small": small})


def test_units_are_ordered_by_their_phone():
    counts = np.array([[0, 4, 1, 0], [5, 0, 3, 0]])
    shares = ordered_shares(counts)
    assert shares.tolist() == [[1, 0, 0.25], [0, 1, 0.75]]


def test_the_picture_is_a_png(tmp_path):
    plot_phones("units", ["a", "b"], np.array([[0, 4, 1], [5, 0, 3]]), tmp_path / "phones.png")
    assert (tmp_path / "phones.png").read_bytes().startswith(b"\x89PNG")
