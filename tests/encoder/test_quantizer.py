import pytest
import torch

from speechunits.config import QuantizerConfig, to_tree
from speechunits.encoder.quantizer import ProductQuantizer, quantizer_from_export

CONFIG = QuantizerConfig(groups=2, entries=5)


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    return ProductQuantizer(8, 6, CONFIG)


def latents(count=50):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(0))


def expected_vectors(quantizer, codes):
    return torch.stack([torch.cat([quantizer.entries[group, code] for group, code in enumerate(row)]) for row in codes])


def test_evaluation_takes_the_most_probable_entries(quantizer):
    result = quantizer.eval()(latents())
    assert torch.equal(result.codes, result.probabilities.argmax(dim=-1))
    assert torch.equal(result.vectors, expected_vectors(quantizer, result.codes))


def test_training_is_hard_forward_and_soft_backward(quantizer):
    result = quantizer.train()(latents(), torch.Generator().manual_seed(1))
    torch.testing.assert_close(result.vectors, expected_vectors(quantizer, result.codes))
    result.vectors.square().sum().backward()
    assert quantizer.scores.weight.grad.abs().sum() > 0
    assert quantizer.entries.grad.abs().sum() > 0


def test_draws_follow_the_softmax(quantizer):
    rows = latents(1).expand(20000, -1)
    result = quantizer.train()(rows, torch.Generator().manual_seed(1))
    for group in range(2):
        shares = torch.bincount(result.codes[:, group], minlength=5) / 20000
        torch.testing.assert_close(shares, result.probabilities[0, group].detach(), atol=0.015, rtol=0)


def test_gradient_is_that_of_the_tempered_softmax(quantizer):
    quantizer.train().set_temperature(0)
    rows = latents(3).requires_grad_()
    quantizer(rows, torch.Generator().manual_seed(2)).vectors.sum().backward()
    scores = quantizer.scores(rows.detach().requires_grad_()).view(3, 2, 5)
    uniform = torch.rand(scores.shape, generator=torch.Generator().manual_seed(2))
    again = rows.detach().requires_grad_()
    soft = ((quantizer.scores(again).view(3, 2, 5) - (-uniform.log()).log()) / 2.0).softmax(dim=-1)
    torch.einsum("ngv,gvd->", soft, quantizer.entries).backward()
    torch.testing.assert_close(rows.grad, again.grad, atol=1e-4, rtol=1e-3)


def test_temperature_cools_to_its_end(quantizer):
    quantizer.set_temperature(0)
    assert quantizer.temperature == 2.0
    quantizer.set_temperature(100_000)
    assert quantizer.temperature == pytest.approx(2.0 * 0.999995**100_000)
    quantizer.set_temperature(10_000_000)
    assert quantizer.temperature == 0.5


def test_fp32_under_autocast_and_no_frames(quantizer):
    with torch.autocast("cpu", torch.bfloat16):
        result = quantizer.train()(latents().bfloat16(), torch.Generator().manual_seed(0))
        empty = quantizer(latents(0), torch.Generator().manual_seed(0))
    assert result.vectors.dtype == result.probabilities.dtype == torch.float32
    assert empty.vectors.shape == (0, 6)
    assert empty.codes.shape == (0, 2)


def test_export_round_trip(quantizer):
    tensors = {f"quantizer.{name}": tensor for name, tensor in quantizer.state_dict().items()}
    header = {"quantizer": to_tree(CONFIG), "quantizer_dim": 6, "encoder": {"channels": 8}}
    restored = quantizer_from_export(tensors, header)
    assert torch.equal(restored(latents()).codes, quantizer.eval()(latents()).codes)


def test_width_must_divide():
    with pytest.raises(ValueError, match="multiple of groups"):
        ProductQuantizer(8, 7, CONFIG)
