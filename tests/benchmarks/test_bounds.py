"""The figure of the two theorems: what its script measures and draws."""

import json

import pytest

from benchmarks import bounds


def test_the_figure_shows_where_each_bound_ends(tmp_path, monkeypatch, capsys):
    arguments = ["bounds.py", "--out", str(tmp_path), "--points", "3", "--pairs", "500"]
    monkeypatch.setattr("sys.argv", arguments)
    bounds.main()
    rows = json.loads((tmp_path / "bounds.json").read_text())
    for kind in ("gaussian", "channel"):
        information = [row["information"] for row in rows[kind]]
        assert information[0] == pytest.approx(0, abs=1e-9)
        assert information == sorted(information)
        for row in rows[kind]:
            assert row["cpc_8"] <= 3
            assert row["direct"] <= min(row["information"], 6) + 0.1
        # At the far end CPC is near ln N (a symbol among 64 may be drawn twice), and the direct bound is beyond it.
        assert rows[kind][-1]["cpc_8"] > 2.8
        assert rows[kind][-1]["direct"] > 5
    assert (tmp_path / "bounds.png").read_bytes().startswith(b"\x89PNG")
    assert "channel: information 6.00" in capsys.readouterr().out
