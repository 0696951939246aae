"""Batches that bring their log-mel along: losses and gradients are those of learners that compute it themselves."""

import pytest
import torch

from speechunits.features.mel import LogMel
from tests.learners.tiny import TINY, VARIANTS, batch, build, with_mel

ROWS = (9000, 300, 7000, 400)


def loss_and_gradients(learner, item):
    loss = learner(item)
    loss.sum.backward()
    gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    return [loss.sum, loss.count, *(part for name in sorted(loss.metrics) for part in loss.metrics[name]),
            *(loss.histograms[name] for name in sorted(loss.histograms)), *gradients, *learner.buffers()]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_losses_and_gradients_are_the_same_to_the_bit(variant, training, monkeypatch):
    own, ahead = build(variant).train(training), build(variant).train(training)
    item = batch(*ROWS)
    expected, brought = loss_and_gradients(own, item), with_mel(item)
    monkeypatch.setattr(LogMel, "forward", None)  # Whoever computes it now, fails.
    found = loss_and_gradients(ahead, brought)
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("norm", ["none", "running"])
def test_other_norms_of_the_input_too(norm):
    learner = build("cpc")
    learner.encoder.frontend.input_norm = norm
    item = batch(*ROWS)
    assert torch.equal(learner(with_mel(item)).sum, learner(item).sum)


def test_a_batch_without_a_frame_does_not_mind():
    item = batch(300, 200)
    for variant in ("masked_prediction", "simclr", "direct_mi-views"):
        assert torch.equal(build(variant)(with_mel(item)).sum, build(variant)(item).sum)


def test_a_front_end_over_samples_does_not_read_it(monkeypatch):
    monkeypatch.setitem(VARIANTS["wav2vec2"], "encoder", TINY | {"frontend": "waveform"})
    item = batch(9000, 7000)
    strange = with_mel(item)
    strange = strange._replace(mel=strange.mel + 1)
    assert torch.equal(build("wav2vec2")(strange).sum, build("wav2vec2")(item).sum)


def test_one_view_alone_is_left_to_the_model():
    item = batch(9000, 7000)
    half = with_mel(item)._replace(second_mel=None)
    assert torch.equal(build("simclr")(half).sum, build("simclr")(item).sum)
