"""Shards of several ranks leave their device only once they are whole: a GPU's ranks have no network on the CPU."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from speechunits.engine.native import prepare_fairseq2
from speechunits.learners.targets import exported

prepare_fairseq2()
from speechunits.engine.machine import whole  # noqa: E402 - wants fairseq2


@pytest.fixture
def sharded(tmp_path):
    """Return a layer whose weight is sharded over one rank."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'ranks'}", rank=0, world_size=1)
    layer = nn.Linear(3, 4)
    layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), init_device_mesh("cpu", (1,)), [Shard(0)]))
    yield layer
    torch.distributed.destroy_process_group()


def test_a_shard_stays_where_it_is_until_it_is_gathered(sharded, monkeypatch):
    def moved(*_, **__):
        raise AssertionError("a shard was moved before it was gathered")

    for name in ("cpu", "to"):
        monkeypatch.setattr(DTensor, name, moved)
    tensors = {name: whole(tensor) for name, tensor in exported(layer=sharded).items()}
    assert sorted(tensors) == ["layer.bias", "layer.weight"]
    assert not any(isinstance(tensor, DTensor) or tensor.requires_grad for tensor in tensors.values())
    assert torch.equal(tensors["layer.weight"], sharded.weight.full_tensor())


def test_what_is_whole_is_copied():
    layer = nn.Linear(3, 4)
    tensors = exported(layer=layer)
    with torch.no_grad():
        layer.weight.zero_()
    assert tensors["layer.weight"].any()
