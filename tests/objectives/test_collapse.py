import pytest
import torch

from speechunits.objectives.collapse import CollapseWatch, find_collapse, inventory_report

HEALTHY = {"loss_bits": 5.0, "chance_bits": 6.66, "perplexity": 60.0, "top_share": 0.3, "negative_is_positive": 0.05}


def test_a_healthy_report_has_no_fault():
    assert find_collapse(HEALTHY, groups=2) is None
    assert find_collapse({key: value for key, value in HEALTHY.items() if key != "negative_is_positive"}) is None


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
    assert find_collapse(HEALTHY | {name: fine}, groups=2) is None
    assert words in find_collapse(HEALTHY | {name: faulty}, groups=2)


def test_a_loss_above_chance_is_not_called_near_it():
    assert "6.620 bits is within 1 % of chance, 6.660" in find_collapse(HEALTHY | {"loss_bits": 6.62}, groups=2)
    for loss, shown in ((6.66, "6.660"), (9.0, "9.000")):
        assert f"of {shown} bits is not below chance, 6.660 bits" in find_collapse(HEALTHY | {"loss_bits": loss})


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


def test_watch_needs_three_in_a_row_after_its_grace():
    watch = CollapseWatch(warmup_steps=100, total_steps=1000)
    assert [watch.update(step, "flat") for step in (50, 100, 150, 200)] == [None] * 4
    assert [watch.update(step, fault) for step, fault in ((250, "flat"), (300, "flat"), (350, None))] == [None] * 3
    assert [watch.update(step, "flat") for step in (400, 450)] == [None] * 2
    assert "flat" in watch.update(500, "flat")


def test_watch_waits_for_a_long_warm_up_and_can_be_resumed():
    watch = CollapseWatch(warmup_steps=500, total_steps=1000)
    assert [watch.update(step, "flat") for step in (300, 400, 500, 600, 700)] == [None] * 5
    resumed = CollapseWatch(warmup_steps=500, total_steps=1000)
    resumed.load(watch.state())
    assert resumed.update(800, "flat") is not None
