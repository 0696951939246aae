import matplotlib as mpl
import pytest

from speechunits.report.plots import plot_reduction
from tests.report.example import CURVES, table


@pytest.mark.parametrize(
    "curves",
    [
        CURVES,
        {**CURVES, "units": {1: 0.7, 4: 0.6}},
        {"pretrained": {1: 0.1}, "untrained": {1: 0.9, 4: 0.3}},
        {"pretrained": {1: 0.3}},
        {**CURVES, "untrained": {1: 1.0}, "logmel": {1: 1.0}},
    ],
)
def test_every_kind_of_table_is_drawn(curves, tmp_path):
    backend = mpl.rcParams["backend"]
    plot_reduction(table(curves), tmp_path / "curve.png")
    data = (tmp_path / "curve.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000
    assert mpl.rcParams["backend"] == backend


def test_same_table_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plot_reduction(table({"pretrained": {1: 0.3}}), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
