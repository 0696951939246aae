import pytest
import torch

from speechunits.objectives.collapse import CollapseWatch, find_faults, inventory_report

HEALTHY = {"loss_bits": 5.0, "chance_bits": 6.66, "perplexity": 60.0, "top_share": 0.3, "negative_is_positive": 0.05}


def test_a_healthy_report_has_no_fault():
    assert find_faults(HEALTHY, groups=2) == {}
    assert find_faults({key: value for key, value in HEALTHY.items() if key != "negative_is_positive"}) == {}


@pytest.mark.parametrize(
    ("name", "fine", "faulty", "words"),
    [
        ("perplexity", 2.21, 2.19, "perplexity"),
        ("negative_is_positive", 0.5, 0.51, "negatives"),
        ("top_share", 0.9, 0.91, "symbol"),
        ("loss_bits", 6.59, 6.6, "chance"),
    ],
)
def test_each_threshold(name, fine, faulty, words):
    assert find_faults(HEALTHY | {name: fine}, groups=2) == {}
    (said,) = find_faults(HEALTHY | {name: faulty}, groups=2).values()
    assert words in said


def test_a_loss_above_chance_is_not_called_near_it():
    assert "6.620 bits is within 1 % of chance, 6.660" in find_faults(HEALTHY | {"loss_bits": 6.62})["chance"]
    for loss, shown in ((6.66, "6.660"), (9.0, "9.000")):
        said = find_faults(HEALTHY | {"loss_bits": loss})["chance"]
        assert f"of {shown} bits is not below chance, 6.660 bits" in said


def test_inventory():
    counts = torch.tensor([[10, 10, 0, 0], [5, 5, 5, 5]])
    speech = torch.tensor([[9, 1, 0, 0], [3, 3, 2, 2]])
    report = inventory_report(counts, speech)
    assert report == {
        "perplexity": pytest.approx(6.0),
        "active": 6.0,
        "top_share": pytest.approx(0.3),
        "entropy_bits": 3.0,
    }
    assert inventory_report(counts * 0, speech * 0)["top_share"] == 0


FLAT = {"chance": "flat"}


def test_watch_needs_three_in_a_row_after_its_grace():
    watch = CollapseWatch(warmup_steps=100, total_steps=1000)
    assert [watch.update(step, FLAT) for step in (50, 100, 150, 200)] == [None] * 4
    assert [watch.update(step, faults) for step, faults in ((250, FLAT), (300, FLAT), (350, {}))] == [None] * 3
    assert [watch.update(step, FLAT) for step in (400, 450)] == [None] * 2
    assert "flat" in watch.update(500, FLAT)


def test_each_fault_is_counted_by_itself():
    watch = CollapseWatch(warmup_steps=0, total_steps=10)
    kinds = ({"a": "A"}, {"b": "B"}, {"b": "B", "c": "C"}, {"c": "C"})
    assert [watch.update(step, faults) for step, faults in enumerate(kinds, start=3)] == [None] * 4
    assert watch.update(7, {"a": "A", "c": "of now"}) == "collapsed (3 evaluations in a row): of now"


def test_watch_waits_for_a_long_warm_up_and_can_be_resumed():
    watch = CollapseWatch(warmup_steps=500, total_steps=1000)
    assert [watch.update(step, FLAT) for step in (300, 400, 500, 600, 700)] == [None] * 5
    resumed = CollapseWatch(warmup_steps=500, total_steps=1000)
    resumed.faults = watch.faults
    assert resumed.update(800, FLAT) is not None
