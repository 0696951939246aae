"""The engine's step: nothing in it waits for the device, and what is not finite changes nothing."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from speechunits.asr import span
from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import build_tokenizer
from speechunits.config import FinetuneConfig
from speechunits.encoder import masking
from speechunits.learners import pairs, swav, targets
from speechunits.objectives import chosen
from tests.engine.step import PREFIX, Ratio, Step
from tests.learners.tiny import VARIANTS, batch, build

WAITS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::masked_select", "aten::equal")
"""Operators whose result the host must know before it goes on."""


class NoWaiting(TorchDispatchMode):
    """Refuses what a GPU would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        index = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") and len(args) > 1 else ()
        by_mask = any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in index)
        if name in WAITS or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


class Unread:
    """Keeps verdicts for later, as they are on a GPU."""

    def __init__(self):
        self.kept = []

    def add(self, finite, names):
        self.kept.append((finite, names))


STARTS = {"online", "online-unmasked"}
"""Their first step starts the codebooks with frames of the batch, and asks how many there are; no later one does."""


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Numbers of frames are as unknown to the host as on a GPU."""
    for module in (chosen, pairs, span, swav, targets):
        monkeypatch.setattr(module, "waits_for_counts", lambda device: True)


def step_without_waiting(learner, item, *, started=False):
    step = Step(learner)
    step.guard.verdicts = Unread()
    if started:
        step(item)
        step.guard.verdicts.kept.clear()
    before = copy.deepcopy(step.learner.state_dict())
    with NoWaiting():
        step(item)
    (finite, names), *others = step.guard.verdicts.kept
    assert finite
    assert names
    assert not others
    assert any(not torch.equal(value, before[name]) for name, value in step.learner.state_dict().items())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.usefixtures("on_a_gpu")
def test_a_step_waits_for_nothing(variant, monkeypatch):
    monkeypatch.setattr(masking, "_longest", lambda lengths, size: size)
    step_without_waiting(build(variant), batch(9000, 7000), started=variant in STARTS)


@pytest.mark.parametrize("side", ["logmel", "untrained"])
@pytest.mark.usefixtures("on_a_gpu")
def test_a_step_of_a_recogniser_waits_for_its_lengths_alone(side, monkeypatch):
    """torch's CTC has its lengths on the host, whatever they were given as; units as input are made on the host too."""
    encoder = build("masked_prediction").encoder.config
    config = FinetuneConfig(side=side, encoder=encoder, frozen=0.0)
    recognizer = build_recognizer(config, build_tokenizer(["ab ba"], "characters", 10))
    item = batch(9000, 7000)._replace(tokens=torch.tensor([[1, 2], [2, 0]]), token_lengths=torch.tensor([2, 1]))
    original = torch.nn.functional.ctc_loss

    def excluded(*arguments, **options):
        with _disable_current_modes():
            return original(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", excluded)
    step_without_waiting(recognizer, item)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"masked_prediction"}))
def test_frames_left_out_by_weight_count_for_nothing(variant, request):
    """As on a GPU, where all places are kept; wav2vec 2.0 draws negatives for each, so they are others."""
    learner = build(variant, **({"pairs": 5000} if variant.startswith(("simclr", "swav")) else {}))
    items = [batch(9000, 7000), batch(5000, 12000, seed=1, data_seed=1)]
    trained = Step(learner)
    trained(*items)
    learner.eval()
    drawn = variant.startswith("wav2vec2")
    with torch.no_grad():
        expected = [learner(item) for item in items]
        request.getfixturevalue("on_a_gpu")
        found = [learner(item) for item in items]
    for one, other in zip(expected, found, strict=True):
        names = {"diversity", "penalty"} if drawn else one.metrics.keys()
        torch.testing.assert_close(other.count, one.count)
        torch.testing.assert_close(
            [other.metrics[name] for name in sorted(names)], [one.metrics[name] for name in sorted(names)]
        )
        torch.testing.assert_close(other.histograms, one.histograms)
        if not drawn:
            torch.testing.assert_close(other.sum, one.sum)


@pytest.mark.parametrize("variant", [name for name in sorted(VARIANTS) if not name.startswith("wav2vec2")])
def test_gradients_are_those_of_the_chosen_frames(variant, request):
    changes = {"pairs": 5000} if variant.startswith(("simclr", "swav")) else {}
    learners = [build(variant, **changes).train() for _ in range(2)]
    items = [batch(9000, 7000), batch(5000, 12000, seed=1, data_seed=1)]
    for place, learner in enumerate(learners):
        if place:
            request.getfixturevalue("on_a_gpu")
        for item in items:
            learner(item).sum.backward()
    for ours, theirs in zip(learners[1].parameters(), learners[0].parameters(), strict=True):
        if not theirs.requires_grad:
            continue
        largest = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4 * largest + 1e-7)
    for (name, ours), theirs in zip(learners[1].named_buffers(), learners[0].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_what_waits_is_refused():
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(()).item()
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]


@pytest.mark.parametrize("max_norm", [None, 1e-3, 1e3])
def test_the_gradient_is_that_of_the_mean_over_all_targets(max_norm):
    items = [batch(9000, 7000, seed=1), batch(5000, seed=2), batch(8000, seed=3)]
    step = Step(build("masked_prediction"))
    expected = copy.deepcopy(step.learner)
    losses = [expected(item) for item in items]
    (sum(loss.sum for loss in losses) / sum(loss.count for loss in losses)).backward()
    wanted = torch.nn.utils.clip_grad_norm_(expected.parameters(), float("inf") if max_norm is None else max_norm)
    norm = step(*items, max_norm=max_norm)
    torch.testing.assert_close(norm, wanted)
    for ours, theirs in zip(step.learner.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("variant", ["online", "swav-queue", "direct_mi"])
def test_a_step_that_is_skipped_spoils_nothing_that_lasts(variant, first):
    step = Step(build(variant))
    item = batch(9000, 7000)
    if not first:
        step(item)
    before = {name: value.clone() for name, value in step.learner.named_buffers()}
    nan = torch.full_like(item.waveforms, float("nan"))
    step(item._replace(waveforms=nan, second=torch.full_like(item.second, float("nan"))))
    assert step.journal.skipped_batches == 1
    after = dict(step.learner.named_buffers())
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    for seed in range(4):
        step(batch(9000, 7000, seed=seed, data_seed=seed))
    assert step.journal.skipped_batches == 1
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


def test_a_gradient_that_is_not_finite_changes_neither_weights_nor_moments(capfd):
    step = Step(build("masked_prediction"))
    item = batch(9000, 7000)
    step(item)
    before = copy.deepcopy((step.learner.state_dict(), step.optimizer.state_dict()))
    counted = step.bag.get(PREFIX + "loss", Ratio).weight.clone()
    norm = step(item._replace(waveforms=torch.full_like(item.waveforms, float("nan"))))
    assert float(norm) == 0
    assert step.journal.skipped_batches == 1
    assert item.ids[0] in capfd.readouterr().err
    torch.testing.assert_close(step.learner.state_dict(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(step.optimizer.state_dict()["state"], before[1]["state"], rtol=0, atol=0)
    assert step.bag.get(PREFIX + "loss", Ratio).weight == counted
    step(item)
    assert step.journal.skipped_batches == 1
    assert any(not torch.equal(value, before[0][name]) for name, value in step.learner.state_dict().items())
