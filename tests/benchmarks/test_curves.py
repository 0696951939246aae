"""Curves of two versions: their final losses, and how far apart they are in errors of the seeds."""

import json

import pytest

from benchmarks.curves import comparison, curve, verdict


def run(folder, losses):
    folder.mkdir()
    rows = [
        {"kind": "train", "audio_hours": 0.1 * place, "loss_bits": loss} for place, loss in enumerate(losses, start=1)
    ]
    lines = [json.dumps(row) for row in (*rows, {"kind": "held_out", "audio_hours": 1.0, "loss_bits": 9.0})]
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return curve(folder)


def test_differences_are_in_standard_errors_of_the_seeds(tmp_path):
    before = [run(tmp_path / "a", [5.0, 4.0, 4.0]), run(tmp_path / "b", [5.0, 4.2, 4.2])]
    after = [run(tmp_path / "c", [6.0, 4.3, 4.3]), run(tmp_path / "d", [6.0, 4.3, 4.3, 1.0])]
    found = comparison(before, after)
    assert found["audio_hours"] == pytest.approx(0.3)
    assert found["before_bits"] == pytest.approx([4.0, 4.2])
    assert found["difference_bits"] == pytest.approx(0.2)
    # The variance of a mean of two seeds .2 apart is .01; the others agree.
    assert found["standard_errors"] == pytest.approx(2.0)


def test_one_seed_has_no_error(tmp_path):
    before, after = [run(tmp_path / "a", [5.0, 4.0])], [run(tmp_path / "b", [5.0, 4.0])]
    assert comparison(before, after)["standard_errors"] is None


@pytest.mark.parametrize(
    ("errors", "degrees", "begins"),
    [(None, 0, "unknown"), (2.7, 4, "within"), (-2.7, 4, "within"), (-2.9, 4, "beyond"), (2.7, 100, "beyond")],
)
def test_the_verdict_is_by_students_t(errors, degrees, begins):
    assert verdict(errors, degrees).startswith(begins)
