"""Compiled blocks: the same numbers, left as they were; a named reason where nothing can be compiled."""

import copy

import pytest
import torch

from speechunits.config import EngineConfig
from speechunits.encoder.context import Block
from speechunits.engine.compilation import compiled, obstacle
from tests.learners.tiny import batch, build

CPU = torch.device("cpu")


def blocks(learner):
    return [module for module in learner.modules() if isinstance(module, Block)]


def test_blocks_are_compiled_within_the_context_alone():
    learner = build("masked_prediction")
    with compiled(learner, EngineConfig(), CPU):
        assert all(block._compiled_call_impl is None for block in blocks(learner))
    with compiled(learner, EngineConfig(compile=True), CPU):
        assert all(block._compiled_call_impl is not None for block in blocks(learner))
        copy.deepcopy(learner)
    assert blocks(learner)
    assert all(block._compiled_call_impl is None for block in blocks(learner))


def test_without_a_compiler_it_says_so_and_goes_on(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    learner = build("masked_prediction")
    with compiled(learner, EngineConfig(compile=True), CPU):
        assert all(block._compiled_call_impl is None for block in blocks(learner))
    assert "no no-such-compiler" in capsys.readouterr().err


def test_shards_and_a_gpu_without_triton_are_obstacles(monkeypatch):
    monkeypatch.setattr("speechunits.engine.compilation.find_spec", lambda _: None)
    assert "triton" in obstacle(torch.device("cuda"), "ddp")
    assert "fsdp" in obstacle(CPU, "fsdp")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch's own looking around
def test_compiled_equals_eager():
    learner = build("masked_prediction").train()
    found = []
    for wanted in (False, True):
        with compiled(learner, EngineConfig(compile=wanted), CPU):
            losses = [learner(batch(*samples)).sum for samples in ((9000, 7000), (6000,), (8000, 8000, 3000))]
            learner.zero_grad()
            sum(losses).backward()
        found.append((torch.stack(losses).detach(), [parameter.grad for parameter in learner.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    for eager, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(eager, other, rtol=1e-3, atol=1e-3)
