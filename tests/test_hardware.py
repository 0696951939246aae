import os
import time

import torch

from speechunits import hardware
from speechunits.hardware import DENSE_BF16_FLOPS, peak_flops

CPU = torch.device("cpu")


def test_the_peak_of_a_processor_is_its_fastest_product(monkeypatch):
    ticks = iter([0.0, 2.0, 10.0, 11.0, 20.0, 24.0, 30.0, 33.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert peak_flops(CPU, torch.float32) == 2 * 1024**3


def test_known_cards_are_not_measured(monkeypatch):
    for name, rate in {"NVIDIA H200": 989e12, "NVIDIA GH200 480GB": 989e12, "NVIDIA A100-SXM4-80GB": 312e12}.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(torch.device("cuda"), torch.bfloat16) == rate
    assert all(rate > 1e14 for rate in DENSE_BF16_FLOPS.values())


def test_cores_are_counted_where_the_system_does_not_tell_which(monkeypatch):
    assert hardware.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert hardware.cores() == os.cpu_count()
