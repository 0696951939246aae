import json
import math

import pytest
import torch

from speechunits.audio.batch import AudioBatch
from speechunits.config import PretrainConfig, build_config
from speechunits.encoder.encoder import encoder_from_export
from speechunits.encoder.quantizer import quantizer_from_export
from speechunits.frames import frame_count, frame_counts
from speechunits.learners.build import build_learner
from tests.learners.tiny import evaluate

CLUSTERS = 12
TINY = {"channels": 32, "dim": 32, "heads": 2, "layers": 2, "ffn_dim": 64, "position_groups": 2, "dropout": 0.0}
LEARNERS = ("wav2vec2", "masked_prediction")


def build(learner, **fields):
    tree = {
        "learner": learner,
        "encoder": TINY,
        "wav2vec2": {"quantizer": {"groups": 2, "entries": 16}, "final_dim": 16, "negatives": 20} | fields,
        "masked_prediction": {"clusters": CLUSTERS, "final_dim": 16},
    }
    torch.manual_seed(0)
    return build_learner(build_config(PretrainConfig, tree))


def batch(*samples, seed=0, data_seed=0):
    """Tones that change every 120 ms; a unit is the tone at the frame's centre."""
    generator = torch.Generator().manual_seed(data_seed)
    lengths = torch.tensor(samples)
    waveforms = torch.zeros(len(samples), max(samples))
    units = torch.full((len(samples), frame_count(max(samples))), -1)
    for row, length in enumerate(samples):
        tones = torch.randint(0, CLUSTERS, (length // 1920 + 1,), generator=generator)
        sounding = tones.repeat_interleave(1920)[:length]
        hertz = 200 * 1.3**sounding
        waveforms[row, :length] = 0.1 * torch.sin(2 * math.pi * hertz.cumsum(0) / 16000)
        waveforms[row, :length] += 0.001 * torch.randn(length, generator=generator)
        frames = int(frame_counts(lengths)[row])
        units[row, :frames] = sounding[200 : 200 + 320 * frames : 320]
    return AudioBatch(waveforms, lengths, tuple(map(str, range(len(samples)))), seed, units=units)


@pytest.mark.parametrize("learner", LEARNERS)
def test_seed_decides_everything(learner):
    model = build(learner).train()
    first, again, other = (float(model(batch(16000, 12000, seed=seed)).sum.detach()) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("training", [False, True])
def test_what_padding_holds_changes_nothing(learner, training):
    model = build(learner).train(training)
    item = batch(16000, 9000)
    waveforms = item.waveforms.clone()
    waveforms[1, 9000:] = float("nan")
    expected, result = model(item), model(item._replace(waveforms=waveforms))
    assert torch.equal(result.sum, expected.sum)
    assert all(torch.equal(result.histograms[name], expected.histograms[name]) for name in expected.histograms)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("samples", [(300, 200), (400, 0), (1000, 3300)], ids=["no frame", "one frame", "too short"])
def test_finite_and_differentiable_when_nothing_is_masked(learner, samples):
    model = build(learner).train()
    item = batch(*samples)
    loss = model(item)
    (loss.sum / loss.count.clamp(min=1)).backward()
    assert loss.sum.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_parameter_gets_a_gradient_under_autocast(learner):
    model = build(learner).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch(16000, 12000))
    assert loss.sum.dtype == torch.float32
    loss.sum.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("learner", LEARNERS)
def test_learns_a_few_tones(learner):
    model = build(learner).train()
    batches = [batch(16000, 14000, 16000, 12000, seed=seed, data_seed=0) for seed in range(4)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    before = evaluate(model, batches[0])
    model.train()
    for step in range(60):
        model.set_progress(step, 60)
        loss = model(batches[step % 4])
        optimizer.zero_grad()
        (loss.sum / loss.count).backward()
        optimizer.step()
    after = evaluate(model, batches[0])
    assert before["loss_bits"] > 0.9 * before["chance_bits"]
    assert after["loss_bits"] < 0.75 * after["chance_bits"]
    assert after["bits"] == pytest.approx(after["chance_bits"] - after["loss_bits"])
    assert model.collapse(after) == {}


def test_a_collapsed_codebook_reads_no_information_and_is_named():
    model = build("wav2vec2")
    with torch.no_grad():
        model.quantizer.scores.weight.zero_()
    report = evaluate(model, batch(16000, 12000), batch(12000, 9000, seed=1))
    assert report["bits"] == pytest.approx(0, abs=1e-3)
    assert report["loss_bits"] == pytest.approx(math.log2(21), abs=1e-3)
    assert report["negative_is_positive"] == 1
    assert (report["perplexity"], report["active"], report["top_share"]) == (2, 2, 1)
    assert "perplexity" in model.collapse(report)


def test_collapsed_predictions_are_named_and_read_at_most_nothing():
    model = build("masked_prediction")
    with torch.no_grad():
        model.heads["context"].weight.zero_()
        model.heads["context"].bias.copy_(model.heads["units"].weight[3])
    report = evaluate(model, batch(16000, 12000))
    assert report["bits"] < 0
    assert "perplexity" in model.collapse(report)


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_untrained_report_is_near_chance(learner):
    report = evaluate(build(learner), batch(48000, 32000))
    assert report["loss_bits"] > 0.8 * report["chance_bits"]
    chance = math.log2(21) if learner == "wav2vec2" else math.log2(CLUSTERS)
    assert report["chance_bits"] == pytest.approx(chance, rel=0.1)
    assert set(report) >= {"loss_bits", "chance_bits", "bits", "accuracy", "perplexity", "active", "top_share"}


@pytest.mark.parametrize("learner", LEARNERS)
def test_export_rebuilds_the_encoder(learner):
    model = build(learner).eval()
    tensors, header = model.export()
    header = json.loads(json.dumps(header))
    assert header["kind"] == "encoder"
    assert header["learner"] == learner
    item = batch(8000)
    with torch.no_grad():
        expected = model.encoder(item.waveforms, item.lengths)
        restored = encoder_from_export(tensors, header)(item.waveforms, item.lengths)
        assert torch.equal(restored.output, expected.output)
        if learner == "wav2vec2":
            latents = expected.latents[0]
            assert torch.equal(quantizer_from_export(tensors, header)(latents).codes, model.quantizer(latents).codes)
    model.heads["context"].weight.data.zero_()
    assert tensors["heads.context.weight"].abs().sum() > 0


def test_temperature_follows_the_step():
    model = build("wav2vec2")
    model.set_progress(1000, 2000)
    assert model.quantizer.temperature == pytest.approx(2 * 0.999995**1000)


def test_units_must_fit_the_frames():
    model = build("masked_prediction")
    item = batch(8000)
    with pytest.raises(ValueError, match="needs the units"):
        model(item._replace(units=None))
    with pytest.raises(ValueError, match="one for each frame"):
        model(item._replace(units=item.units[:, 1:]))


def test_unmasked_frames_can_count_too():
    model = build("masked_prediction").train()
    item = batch(8000)
    plain = float(model(item).sum.detach())
    model.config = type(model.config)(clusters=CLUSTERS, unmasked_weight=1.0)
    assert float(model(item).sum.detach()) > plain
