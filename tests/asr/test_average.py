import pytest
import torch
from torch import nn

from speechunits.asr.average import WeightAverage


def trained(share, total, values):
    """Let a module of one weight take ``values`` after each of ``total`` steps; return its weight in the end."""
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, share)
    for step in range(total):
        average.step(step, total)
        nn.init.constant_(module.weight, values[step])
    average.apply()
    return module.weight.item()


def test_the_last_weights_are_averaged():
    # Before step 7, 8, 9 the weights are those of step 6, 7, 8; the last are those of step 9.
    assert trained(0.3, 10, range(10)) == pytest.approx((6 + 7 + 8 + 9) / 4)


def test_without_a_share_the_last_weights_stay():
    assert trained(0.0, 10, range(10)) == 9
    assert trained(0.05, 10, range(10)) == 9


def test_long_trainings_are_sampled_evenly():
    total = 1000
    expected = [step - 1 for step in range(500, total) if (total - step) % 25 == 0] + [total - 1]
    assert trained(0.5, total, range(total)) == pytest.approx(sum(expected) / len(expected))
    assert len(expected) == 21


def test_a_second_training_starts_afresh():
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, 0.5)
    average.add()
    average.apply()
    nn.init.constant_(module.weight, 3.0)
    average.apply()
    assert torch.equal(module.weight, torch.full((1, 1), 3.0))


def test_what_the_cpu_has_read_goes_where_the_weights_are():
    average = WeightAverage(nn.Linear(1, 1), 0.5)
    average.add()
    # As if on a GPU, which refuses sums with what is on the CPU, too.
    later = WeightAverage(nn.Linear(1, 1, device="meta"), 0.5)
    later.restore(average.state())
    assert {total.device.type for total in later.state()["sums"].values()} == {"meta"}
    later.add()
    later.apply()


@pytest.mark.parametrize("interrupted", range(11))
def test_an_interrupted_average_goes_on(interrupted):
    module, later = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, 0.5)
    for step in range(10):
        if step == interrupted:
            later.load_state_dict(module.state_dict())
            kept, module, average = average.state(), later, WeightAverage(later, 0.5)
            average.restore(kept)
        average.step(step, 10)
        nn.init.constant_(module.weight, step)
    average.apply()
    assert module.weight.item() == trained(0.5, 10, range(10))
