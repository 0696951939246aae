"""What the engine asks of a GPU, as far as it shows without one."""

import pytest
import torch

from speechunits.config import EngineConfig
from speechunits.engine.native import prepare_fairseq2
from speechunits.units.extract import exact_products
from tests.engine.tiny import TinyLearner, run

prepare_fairseq2()
from speechunits.engine import session  # noqa: E402 - wants fairseq2
from speechunits.engine.machine import Precision, choose_precision  # noqa: E402

CUDA = torch.device("cuda")


@pytest.mark.parametrize(("precision", "emulated"), [("auto", torch.float32), ("bf16", torch.bfloat16)])
def test_bf16_that_a_gpu_emulates_is_only_used_where_it_is_asked_for(precision, emulated, monkeypatch):
    def is_bf16_supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert choose_precision(EngineConfig(precision=precision), CUDA).dtype == emulated


@pytest.fixture
def tuned():
    """cuDNN as somebody may have set it."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True, allow_tf32=True):
        yield


@pytest.mark.usefixtures("tuned")
def test_exact_products_switch_nothing_else_off():
    cudnn = torch.backends.cudnn
    with exact_products(CUDA):
        assert not cudnn.allow_tf32
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic) == (True, True, True)
    assert cudnn.allow_tf32


@pytest.mark.usefixtures("tuned")
def test_products_stay_exact_while_any_thread_needs_them():
    first, second = exact_products(CUDA), exact_products(CUDA)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32
    second.__exit__(None, None, None)
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("tuned")
@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("bf16", True)])
def test_training_in_fp32_rounds_no_factors(precision, rounds, tmp_path, corpus, monkeypatch):
    # The CPU stands in for a GPU, which has the switch.
    monkeypatch.setattr(session, "choose_precision", lambda config, _: choose_precision(config, CUDA))
    products = Precision.products
    monkeypatch.setattr(Precision, "products", lambda self, _: products(self, CUDA))
    learner, found = TinyLearner(), []
    learner.fault = lambda _: found.append(torch.backends.cudnn.allow_tf32) or 1.0
    run(learner, tmp_path, corpus, steps=2, engine={"precision": precision})
    assert found == [rounds] * 2
    assert torch.backends.cudnn.allow_tf32
