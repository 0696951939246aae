"""What every pretraining method owes: seeds, padding, gradients, a bound that learning raises, collapse named."""

import json

import pytest
import torch

from speechunits.config import PretrainConfig, build_config
from speechunits.encoder.context import Block
from speechunits.encoder.encoder import Encoder, encoder_from_export
from speechunits.encoder.flops import BACKWARD, transformer_flops
from speechunits.errors import UsageError
from speechunits.frames import frame_count, frame_counts, frames_mask
from speechunits.objectives.direct_mi import direct_mi_loss
from tests.learners.tiny import PAST, TINY, VARIANTS, batch, build, evaluate, fit, padded

EVERY = pytest.mark.parametrize("variant", VARIANTS)
ONE_EACH = pytest.mark.parametrize("variant", ["cpc", "simclr", "swav", "direct_mi", "online"])


@EVERY
def test_the_seed_decides(variant):
    sums = []
    for seed in (1, 1, 2):
        model = build(variant).train()
        sums.append(float(model(batch(9000, 7000, seed=seed)).sum.detach()))
    assert sums[0] == sums[1]
    # Neither all pairs of the batch nor all frames with a future leave anything to chance.
    assert (sums[0] != sums[2]) or variant in ("simclr-batch", "swav", "swav-queue", "direct_mi-shift", "simclr")


@EVERY
def test_no_layer_is_kept_that_nobody_reads(variant):
    model, kept = build(variant).train(), []
    model.encoder.register_forward_hook(lambda *arguments: kept.append(len(arguments[2].layers)))
    model(batch(9000, 7000))
    assert set(kept) == {0}


@EVERY
def test_a_step_counts_every_pass_through_the_blocks(variant):
    model, item, passes = build(variant).train(), batch(9000, 7000), []

    def note(encoder, arguments):
        both_ways = 1 + BACKWARD * torch.is_grad_enabled()
        passes.append(both_ways * float(transformer_flops(encoder.config, frame_counts(arguments[1]))))

    def note_block(*_):
        # A predictor's own: a block of the encoder's sizes, which here has two.
        passes.append((1 + BACKWARD) * float(transformer_flops(model.encoder.config, frame_counts(item.lengths))) / 2)

    for module in model.heads.modules():
        if isinstance(module, Block):
            module.register_forward_pre_hook(note_block)
    for module in model.modules():
        if isinstance(module, Encoder):
            module.register_forward_pre_hook(note)
    model(item)
    assert float(model.training_flops(model.encoded_lengths(item))) == sum(passes) > 0


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_padding_and_what_it_holds_change_nothing(variant, training):
    item = batch(9000, 5000)
    losses = [
        build(variant).train(training)(padded(item, samples, value))
        for samples, value in ((0, 0.0), (0, float("nan")), (3200, 0.3))
    ]
    for other in losses[1:]:
        torch.testing.assert_close(other.sum, losses[0].sum, rtol=1e-5, atol=1e-5)
        assert int(other.count) == int(losses[0].count) > 0
        for name, (total, count) in losses[0].metrics.items():
            torch.testing.assert_close(other.metrics[name][0], total, rtol=1e-5, atol=1e-5)
            assert int(other.metrics[name][1]) == int(count)
        for name, counts in losses[0].histograms.items():
            assert torch.equal(other.histograms[name], counts)


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_silent_frames_are_heard_but_not_asked_for(variant, training):
    item = batch(9000, 7000)
    real = frames_mask(frame_counts(item.lengths), frame_count(item.waveforms.shape[1]))
    speech = real.clone()
    speech[:, 8:13] = False
    losses = []
    for chosen, speech_only in ((real, False), (real, True), (speech, True)):
        model = build(variant).train(training)
        model.speech_only = speech_only
        losses.append(model(item._replace(speech=chosen)))
    everything, same, fewer = losses
    assert torch.equal(everything.sum, same.sum)
    assert everything.metrics.keys() == same.metrics.keys()
    assert 0 < int(fewer.count) < int(everything.count)
    assert float(fewer.sum.detach()) != float(everything.sum.detach())
    # What silent frames would have to be predicted as is not looked at.
    model = build(variant).train(training)
    model.speech_only = True
    other = model(item._replace(speech=speech, units=item.units.masked_fill(~speech & real, 5)))
    assert torch.equal(other.sum, fewer.sum)
    # A training of the one kind is not gone on with as the other.
    assert model.export()[1] == {**build(variant).export()[1], "speech_only": True}


@EVERY
@pytest.mark.parametrize("samples", [(300, 200), (400,)], ids=["no frame", "one frame"])
def test_finite_and_differentiable_when_there_is_nothing_to_learn(variant, samples):
    model = build(variant).train()
    loss = model(batch(*samples))
    (loss.sum / loss.count.clamp(min=1)).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@EVERY
def test_every_parameter_gets_a_finite_gradient_under_autocast(variant):
    model = build(variant).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch(9000, 7000))
    assert loss.sum.dtype == torch.float32
    loss.sum.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)


@ONE_EACH
def test_learns_tones_and_stays_healthy(variant):
    batches = [batch(16000, 14000, 16000, 12000, seed=seed, data_seed=seed) for seed in range(4)]
    model = build(variant)
    before = evaluate(model, *batches)
    after = evaluate(fit(model, batches, 100), *batches)
    assert after["bits"] > before["bits"] + 0.15
    assert after["bits"] == pytest.approx(after["chance_bits"] - after["loss_bits"])
    assert 0.15 < after["bits"] < after["chance_bits"]
    assert model.collapse(after) == {}


def test_a_marginal_that_lags_behind_is_named_a_collapse():
    batches = [batch(16000, 14000, 16000, 12000, seed=seed, data_seed=seed) for seed in range(4)]
    model = build("direct_mi", decay=0.95, sharpness=1.0, frozen=0.0)
    report = evaluate(fit(model, batches, 60, lr=5e-3), *batches)
    assert report["bits"] < 0.1
    assert "perplexity" in model.collapse(report)


@pytest.mark.parametrize("variant", ["wav2vec2", "direct_mi", "online"])
def test_frames_that_are_seen_count_in_training_alone(variant):
    item = batch(9000, 7000)
    sums = {}
    for name in (variant, f"{variant}-unmasked"):
        model = build(name)
        sums[name] = [float(model.train(training)(item).sum.detach()) for training in (False, True)]
    assert sums[variant][0] == sums[f"{variant}-unmasked"][0]
    assert sums[variant][1] != sums[f"{variant}-unmasked"][1]


def test_symbols_stay_at_first_and_begin_told_apart():
    model = build("direct_mi", frozen=0.5).train()
    for step, frozen in ((0, True), (49, True), (50, False)):
        model.set_progress(step, 100)
        model.zero_grad()
        model(batch(8000)).sum.backward()
        assert (float(model.heads["target"][-1].weight.grad.abs().max()) == 0) == frozen
    sure = [
        float(build("direct_mi", sharpness=factor).heads["target"][-1].weight.detach().std()) for factor in (1.0, 10.0)
    ]
    assert sure[1] == pytest.approx(10 * sure[0], rel=1e-4)


COLLAPSING = {
    "cpc": {}, "simclr": {"temperature": 100.0}, "swav": {"temperature": 100.0}, "wav2vec2": {"temperature": 100.0},
    "direct_mi": {}, "masked_prediction": {"temperature": 100.0}, "online": {},
}  # fmt: skip


@pytest.mark.parametrize("variant", COLLAPSING)
def test_far_too_high_a_rate_or_temperature_is_named_a_collapse(variant):
    """A rate of 3 throws the weights about, a temperature of 100 makes all candidates alike: neither learns."""
    model = build(variant, **COLLAPSING[variant])
    fit(model, [batch(9000, 7000, seed=seed, data_seed=seed) for seed in range(4)], 12, lr=3.0)
    report = evaluate(model, batch(16000, 12000))
    assert report["bits"] < 0.05 * max(report["chance_bits"], 1.0)
    assert model.collapse(report)


# Not SimCLR and SwAV: near the ends of a recording the positions tell frames apart, and both views have the same.
@pytest.mark.parametrize("variant", [name for name in COLLAPSING if name not in ("simclr", "swav")])
def test_one_tone_throughout_is_named_a_collapse(variant):
    """Frames that are all alike hold nothing to tell: no bound is above 0."""
    model = build(variant)
    samples = torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000).expand(2, -1) * 0.1
    lengths = torch.tensor([16000, 12400])
    matches = torch.arange(frame_count(16000)).expand(2, -1)
    units = torch.where(frames_mask(frame_counts(lengths), matches.shape[1]), 3, -1)
    item = batch(16000, 12400)._replace(
        waveforms=samples, second=samples, lengths=lengths, second_lengths=lengths, matches=matches, units=units
    )
    with torch.no_grad():
        model(item)
    report = evaluate(model, item)
    assert report["bits"] < 0.05
    assert model.collapse(report)


@ONE_EACH
def test_equal_vectors_are_named_a_collapse(variant):
    model = build(variant)
    with torch.no_grad():
        model.encoder.norm.weight.zero_()
        model.encoder.context.norm.weight.zero_()
        if variant == "online":
            model.teacher.load_state_dict(model.encoder.state_dict())
    report = evaluate(model, batch(16000, 12000))
    assert report["bits"] <= 0.01
    assert model.collapse(report)


@ONE_EACH
def test_export_rebuilds_the_encoder(variant):
    model = build(variant).eval()
    tensors, header = model.export()
    header = json.loads(json.dumps(header))
    assert header["kind"] == "encoder"
    item = batch(8000)
    with torch.no_grad():
        expected = model.encoder(item.waveforms, item.lengths).output
        assert torch.equal(encoder_from_export(tensors, header)(item.waveforms, item.lengths).output, expected)
    assert not any(name.startswith("teacher.") for name in tensors)


def test_cpc_reports_every_step():
    report = evaluate(build("cpc"), batch(16000))
    steps = [report[f"bits_{step}"] for step in range(1, 5)]
    assert min(steps) - 1e-6 <= report["bits"] <= max(steps) + 1e-6


def test_what_cpc_predicts_knows_no_future():
    """Neither predictor may look at the frames that it is to tell."""
    for variant in ("cpc", "cpc-transformer", "cpc-gru"):
        model = build(variant).eval()
        generator = torch.Generator().manual_seed(0)
        output = torch.randn(1, 20, model.encoder.config.dim, generator=generator)
        changed = output.clone()
        changed[:, 12:] = torch.randn(1, 8, output.shape[-1], generator=generator)
        lengths = torch.tensor([20])
        before, after = (model._predictions(frames, lengths)[:, :12] for frames in (output, changed))
        torch.testing.assert_close(after, before)
        assert not torch.equal(*(model._predictions(frames, lengths)[:, 12:] for frames in (output, changed)))


def test_rows_that_share_negatives_are_those_that_were_asked_for():
    item = batch(9000, 7000, 8000)._replace(speakers=("a", "b", "a"))
    shared = {"utterance": [0, 1, 2], "speaker": [0, 1, 0], "batch": [0, 0, 0]}
    for source, groups in shared.items():
        assert build("cpc", negatives_from=source)._groups(item).tolist() == groups
        assert build("cpc", negatives_from=source).meets_speakers == (source == "speaker")
    # Without names nobody knows who shares a speaker.
    assert build("cpc", negatives_from="speaker")._groups(item._replace(speakers=())).tolist() == [0, 1, 2]


def test_a_contrast_within_the_batch_has_more_candidates():
    chances = [evaluate(build("simclr", negatives_from=source), batch(9000, 9000))["chance_bits"]
               for source in ("utterance", "batch")]  # fmt: skip
    assert chances[1] > chances[0] + 0.8


def test_targets_are_as_many_frames_ahead_as_asked(monkeypatch):
    seen = {}

    def loss(context, targets, marginal, speech, **options):
        seen.update(targets=targets, speech=speech, **options)
        return direct_mi_loss(context, targets, marginal, speech, **options)

    monkeypatch.setattr("speechunits.learners.direct_mi.direct_mi_loss", loss)
    for shift in (5, 7):
        model, item = build("direct_mi-shift", shift=shift).eval(), batch(16000)
        latents, _ = model.encoder.latents(item.waveforms, item.lengths)
        model(item)
        expected = model.heads["target"](latents[0, shift : int(frame_counts(item.lengths)[0])])
        torch.testing.assert_close(seen["targets"], expected)
        # What counts among the symbols of speech is where the symbol is from.
        at = torch.zeros(1, len(latents[0]), dtype=torch.bool)
        at[0, 20] = True
        model(item._replace(speech=at))
        assert seen["speech"].nonzero().flatten().tolist() == [20 - shift]
    assert seen["gradient"] == "expectation"
    build("direct_mi-hard")(batch(9000))
    assert seen["gradient"] == "straight_through"


def test_a_small_vocabulary_is_cheap_only_where_duplicates_are_left_out():
    sums = [float(build("wav2vec2", mask_duplicates=left_out).train()(batch(16000, 16000)).sum.detach())
            for left_out in (True, False)]  # fmt: skip
    assert sums[0] < sums[1]


@pytest.mark.parametrize("variant", ["simclr", "swav", "direct_mi-views"])
def test_one_view_is_not_enough(variant):
    with pytest.raises(ValueError, match="two views"):
        build(variant)(batch(8000)._replace(second=None))


def test_prototypes_are_frozen_at_first():
    model = build("swav").train()
    for step, frozen in ((0, True), (4, True), (5, False)):
        model.set_progress(step, 100)
        model.zero_grad()
        model(batch(8000)).sum.backward()
        gradient = model.heads["prototypes"].weight.grad
        assert (float(gradient.abs().max()) == 0) == frozen


def test_a_full_queue_takes_part():
    model = build("swav-queue").train()
    item = batch(16000)
    before = float(model(item).sum.detach())
    assert int(model.queued) > 0
    while int(model.queued) < 50:
        model(item)
    newest = model.queue.clone()
    assert (newest.norm(dim=-1) - 1).abs().max() < 1e-5
    assert float(model(item).sum.detach()) != before
    assert float(model.eval()(item).sum.detach()) == pytest.approx(before)


def test_the_marginal_follows_the_symbols_of_each_speaker():
    model = build("direct_mi-views").train()
    before = model.marginal.clone()
    model(batch(9000, 9000))
    changed = (model.marginal != before).any(dim=1)
    # By a hash of their names, s0 and s1 have the rows 2 and 0.
    assert changed.tolist() == [True, False, True, False]
    assert not torch.equal(model.marginal[0], model.marginal[2])
    torch.testing.assert_close(model.marginal.sum(dim=1), torch.ones(4))
    model.eval()(batch(9000))
    assert not changed.all()


def test_a_wrong_marginal_reads_no_information():
    """It serves the gradient: what is reported is the entropy of the symbols less the cross-entropy."""
    model, item, reports = build("direct_mi"), batch(16000, 12000), []
    losses = []
    for stale in (torch.full((1, 16), 1 / 16), torch.nn.functional.one_hot(torch.tensor([3]), 16) * 0.99 + 1e-3):
        model.marginal.copy_(stale)
        reports.append(evaluate(model, item))
        losses.append(float(model(item).sum.detach()))
    assert losses[0] != losses[1]
    assert reports[0] == reports[1]
    assert reports[0]["bits"] < 0.1


def test_the_teacher_follows_and_does_not_learn():
    model = build("online").train()
    model(batch(9000, 7000)).sum.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert bool(model.started)
    with torch.no_grad():
        model.encoder.context.projection.bias += 1.0
    before = model.teacher.context.projection.bias.clone()
    model.set_progress(0, 100)
    assert torch.equal(model.teacher.context.projection.bias, before)
    model.set_progress(1, 100)
    decay = 0.9 + 0.09 * 1 / 7.5
    torch.testing.assert_close(model.teacher.context.projection.bias, before + (1 - decay), atol=1e-6, rtol=1e-5)
    assert not model.train().teacher.training


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"learner": "cpc", "encoder": TINY}, "encoder.causal must be true"),
        ({"learner": "direct_mi", "encoder": TINY, "direct_mi": {"shift": 5}}, "encoder.causal must be true"),
        ({"learner": "direct_mi", "encoder": PAST, "direct_mi": {"shift": 2}}, "at least 5"),
        ({"learner": "masked_prediction", "masked_prediction": {"targets": "online", "passes": 2}}, "passes must be 1"),
        (
            {"learner": "masked_prediction", "masked_prediction": {"targets": "online", "altered": 0.7}},
            "altered must be 0 where targets are online, but is 0.7",
        ),
    ],
)
def test_impossible_settings_are_refused(tree, words):
    with pytest.raises(UsageError, match=words):
        build_config(PretrainConfig, tree)
