import pytest
import torch

from speechunits.encoder.dropout import Dropout


def test_share_and_mean():
    torch.manual_seed(0)
    dropped = Dropout(0.1).train()(torch.ones(1000, 501))
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(26 / 256, abs=2e-3)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=3e-3)


def test_half_precision_rounds_the_scale():
    torch.manual_seed(0)
    dropped = Dropout(0.1).train()(torch.ones(1000, 501, dtype=torch.bfloat16)).float()
    assert float(dropped.max()) == 1.109375  # 256 / 230 is 1.1130.


def test_seed_decides_and_gradient_follows():
    values = torch.ones(3, 7, requires_grad=True)
    torch.manual_seed(1)
    first = Dropout(0.5).train()(values)
    first.sum().backward()
    assert torch.equal(values.grad, first.detach())
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5).train()(values), first)


def test_off():
    values = torch.randn(4, 4)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0).train()(values) is values
    with pytest.raises(ValueError, match="within"):
        Dropout(1.0)
