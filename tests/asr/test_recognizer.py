from dataclasses import replace

import numpy as np
import pytest
import torch

from speechunits.asr.frozen import normalized
from speechunits.asr.mixture import LayerMixture
from speechunits.asr.recognizer import build_recognizer, recognizer_from_bundle
from speechunits.asr.span import cropped, spoken_span
from speechunits.asr.tokens import build_tokenizer
from speechunits.config import FinetuneConfig
from speechunits.encoder.encoder import Encoder
from speechunits.errors import InputRefused
from speechunits.features.mel import LogMel
from speechunits.frames import frame_counts
from speechunits.units.bundle import read_bundle, write_bundle
from tests.asr.tiny import ENCODER, SIDES, batch, config, random_texts, recognizer
from tests.reference.reduction import edit_distance


@pytest.mark.parametrize(("side", "lr", "steps"), [("logmel", 2e-3, 50), ("untrained", 5e-3, 110)])
def test_it_learns_tones(side, lr, steps):
    """The whole of it once: off the all-blank plateau, few errors on texts it was not trained on."""
    made = recognizer(side, dropout=0.0)
    generator = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(made.parameters(), lr=lr)
    for step in range(steps):
        made.train()
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 10)
        loss = made(batch(random_texts(6, generator), made.tokenizer, seed=step))
        (loss.sum / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
    made.eval()
    with torch.no_grad():
        loss = made(batch(random_texts(12, np.random.default_rng(99)), made.tokenizer, seed=10_000))
    report = made.report({name: float(total / count) for name, (total, count) in loss.metrics.items()}, {})
    assert report["cer"] < 0.4
    assert report["all_blank"] == 0.0
    assert 0 < report["blank"] < 1


@pytest.mark.parametrize("side", SIDES)
def test_evaluation_counts_greedy_errors_and_ignores_the_seed(side):
    made = recognizer(side).eval()
    torch.nn.init.normal_(made.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    data = batch(["ab", "cba", "a"], made.tokenizer)
    loss = made(data)
    logits, lengths = made.logits(data.waveforms, data.lengths)
    edits = 0
    for row, length, text in zip(logits.argmax(-1), lengths, ["ab", "cba", "a"], strict=True):
        path = torch.unique_consecutive(row[:length])
        edits += edit_distance(text, made.tokenizer.decode(path[path > 0].tolist()))
    assert tuple(map(int, loss.metrics["cer"])) == (edits, 6)
    assert torch.equal(made(data._replace(seed=5)).sum, loss.sum)


@pytest.mark.parametrize("side", SIDES)
def test_training_takes_batches_padded_beyond_their_longest_row(side):
    made = recognizer(side).train()
    data = batch(["ab", "cba"], made.tokenizer)
    padded = torch.nn.functional.pad(data.waveforms, (0, 5000))
    assert made(data._replace(waveforms=padded)).sum.isfinite()


@pytest.mark.parametrize("side", SIDES)
def test_neighbours_and_padding_change_nothing(side):
    made = recognizer(side).eval()
    data = batch(["ab", "cbacb", "a"], made.tokenizer)
    logits, lengths = made.logits(data.waveforms, data.lengths)
    for row, (samples, frames) in enumerate(zip(data.lengths, lengths, strict=True)):
        alone, _ = made.logits(data.waveforms[row : row + 1, :samples], data.lengths[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row, :frames], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_nothing_is_said_before_the_first_or_after_the_last_speech(side):
    made = recognizer(side).eval()
    torch.nn.init.normal_(made.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    data = batch(["ab", "cba"], made.tokenizer)
    quiet = torch.nn.functional.pad(data.waveforms, (8000, 8000))
    data = data._replace(waveforms=quiet, lengths=data.lengths + 16000)
    plain = recognizer(side, silent_edges=False).eval()
    plain.load_state_dict(made.state_dict())
    logits, lengths = made.logits(data.waveforms, data.lengths)
    span = spoken_span(data.waveforms, lengths)
    assert 0.2 < span.float().mean() < 0.8
    assert torch.equal(lengths, frame_counts(data.lengths))
    waveforms, shorter = cropped(data.waveforms, span)
    alone, counts = plain.logits(waveforms, shorter)
    for row, count in enumerate(counts):
        torch.testing.assert_close(logits[row][span[row]], alone[row, :count])
    assert not logits.argmax(dim=-1)[~span].any()
    assert plain.logits(data.waveforms, data.lengths)[0].argmax(dim=-1)[~span].any()
    loss, expected = made(data), plain(data._replace(waveforms=waveforms, lengths=shorter))
    torch.testing.assert_close(loss.sum, expected.sum)
    assert loss.metrics["cer"] == expected.metrics["cer"]
    # A bundle remembers; one that says nothing of it was made before.
    tensors, header = made.export()
    assert recognizer_from_bundle(tensors, header).config.silent_edges
    del header["silent_edges"]
    assert not recognizer_from_bundle(tensors, header).config.silent_edges


@pytest.mark.parametrize("side", SIDES)
def test_training_masks_come_from_the_batch_seed(side):
    made = recognizer(side, dropout=0.0).train()
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.nn.init.normal_(made.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    if isinstance(made.network, LayerMixture):
        made.network.encoder.eval()  # its dropout is no module's
    data = batch(["abcab", "cba"], made.tokenizer)
    first, again, other = (made(data._replace(seed=seed)).sum for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_encoder_is_frozen_at_first():
    made = recognizer("pretrained", frozen=0.25)
    data = batch(["ab"], made.tokenizer)
    encoder = made.network.encoder
    for step, learns in ((0, False), (24, False), (25, True)):
        made.set_progress(step, 100)
        made.zero_grad()
        made.train()(data).sum.backward()
        assert any(p.grad is not None for p in encoder.parameters()) == learns
        assert made.head.weight.grad is not None
        assert made.network.weights.grad is not None
    untrained = recognizer("untrained", frozen=0.25)
    untrained.set_progress(0, 100)
    assert not untrained.network.frozen


@pytest.mark.parametrize("side", SIDES)
def test_parameter_groups_hold_every_parameter_once(side):
    made = recognizer(side, encoder_lr_scale=0.5)
    groups = made.parameter_groups(0.01)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in made.parameters())
    assert [group["lr"] for group in groups] == ([0.01] if side == "logmel" else [0.01, 0.005])
    if side != "logmel":
        assert {id(p) for p in groups[1]["params"]} == {id(p) for p in made.network.encoder.parameters()}


def test_what_is_heard_is_the_mixture_of_layers_that_was_learnt():
    made = recognizer("pretrained").eval()
    data = batch(["abc"], made.tokenizer)
    layers = normalized(made.network.encoder(data.waveforms, data.lengths).layers)
    for weights in ([0.0, 0.0, 0.0], [50.0, 0.0, 0.0], [0.3, -0.2, 1.0]):
        made.network.weights.data = torch.tensor(weights)
        shares = torch.tensor(weights).softmax(dim=0)
        expected = sum(share * layer for share, layer in zip(shares, layers, strict=True))
        torch.testing.assert_close(made.network(data.waveforms, data.lengths)[0], expected)


def test_a_training_ends_with_the_mean_of_its_last_weights():
    made = recognizer("logmel", average=0.5)
    seen = []
    for step in range(4):
        made.set_progress(step, 4)
        made.head.bias.data.fill_(float(step))
        seen.append(float(step))
    made.finish()
    # Before the third step and before the fourth, and the last ones.
    assert made.head.bias.unique().tolist() == [pytest.approx((1 + 2 + 3) / 3)]


@pytest.mark.parametrize("silent_edges", [True, False])
def test_texts_that_need_more_frames_than_the_speech_has_are_noted(silent_edges):
    """Six seconds with a third of a second of speech are as short as that."""
    made = recognizer("logmel", silent_edges=silent_edges).train()
    data = batch(["ab", "ab" * 20], made.tokenizer)
    waveforms = torch.zeros(2, 96000)
    waveforms[:, 40000 : 40000 + 6000] = data.waveforms[1, :6000]
    loss = made(data._replace(waveforms=waveforms, lengths=torch.tensor([96000, 96000])))
    assert made.alignments.never() == ({"1"} if silent_edges else set())
    assert loss.count == (2 if silent_edges else 42)


@pytest.mark.parametrize("kind", ["characters", "sentencepiece"])
@pytest.mark.parametrize("side", SIDES)
def test_bundle_round_trip(side, kind, tmp_path):
    made = recognizer(side)
    if kind == "sentencepiece":
        made = build_recognizer(config("logmel"), build_tokenizer(["abc cab", "bca"], kind, 8))
    write_bundle(tmp_path / "asr.safetensors", *made.export())
    restored = recognizer_from_bundle(*read_bundle(tmp_path / "asr.safetensors", kind="recognizer"))
    data = batch(["abc"], made.tokenizer)
    assert torch.equal(made.eval()(data).sum, restored(data).sum)
    assert restored.tokenizer.symbols == made.tokenizer.symbols
    assert not restored.training


@pytest.mark.parametrize("side", ["pretrained", "untrained"])
def test_the_log_mel_network_hears_the_encoder_and_a_bundle_remembers(side):
    made = recognizer(side, logmel_beside=True, frozen=0.5).eval()
    torch.nn.init.normal_(made.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    data = batch(["ab", "cbacb"], made.tokenizer)
    logits, lengths = made.logits(data.waveforms, data.lengths)
    alone, _ = made.logits(data.waveforms[:1, : data.lengths[0]], data.lengths[:1])
    torch.testing.assert_close(alone[0], logits[0, : lengths[0]], atol=1e-5, rtol=1e-4)
    restored = recognizer_from_bundle(*made.export())
    assert torch.equal(restored.logits(data.waveforms, data.lengths)[0], logits)
    # A frozen encoder does not keep the rest from learning.
    made.set_progress(0, 100)
    made.train()(data).sum.backward()
    heard = [*made.network.network.parameters(), *made.network.enter.parameters(), made.network.weights]
    assert all(parameter.grad is not None for parameter in heard)
    learns = any(parameter.grad is not None for parameter in made.network.encoder.parameters())
    assert learns == (side == "untrained")
    # Without what it hears of the encoder it is the side "logmel", weight for weight.
    torch.nn.init.zeros_(made.network.enter.weight)
    torch.nn.init.zeros_(made.network.enter.bias)
    own = recognizer("logmel").eval()
    own.network.load_state_dict(made.network.network.state_dict())
    for name in ("norm", "head"):
        getattr(own, name).load_state_dict(getattr(made, name).state_dict())
    found, expected = (model.eval().logits(data.waveforms, data.lengths)[0] for model in (made, own))
    assert torch.equal(found, expected)
    assert not torch.equal(found, logits)


def test_the_log_mel_network_has_as_many_bins_as_the_encoder_beside_it():
    """A reader brings one log-mel for both."""
    few = replace(ENCODER, mel_bins=40)
    made = build_recognizer(config("pretrained", logmel_beside=True), build_tokenizer("abc"), Encoder(few)).eval()
    data = batch(["ab", "cbacb"], made.tokenizer)
    mel, _ = LogMel(40)(data.waveforms, data.lengths)
    brought, _ = made.logits(data.waveforms, data.lengths, mel=mel)
    assert torch.equal(brought, made.logits(data.waveforms, data.lengths)[0])


def test_what_is_heard_of_an_encoder_is_masked_behind_it_too():
    """Pretraining has taught it to fill in what is masked before it."""
    made = recognizer("pretrained", logmel_beside=True, dropout=0.0)
    heard = []
    made.network.enter.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].detach()))
    data = batch(["abcab", "cbacb"], made.tokenizer, seed=3)
    made.eval()(data)
    made.train()(data)
    made(data)
    made(data._replace(seed=4))
    plain, masked, again, other = (frames == 0 for frames in heard)
    assert not plain[:, :5].any()
    assert masked.all(dim=-1).any()  # whole frames
    assert masked.all(dim=1).any()  # whole channels
    assert torch.equal(masked, again)
    assert not torch.equal(masked, other)


def test_foreign_tensors_are_refused():
    tensors, header = recognizer("logmel").export()
    tensors.pop("head.weight")
    with pytest.raises(InputRefused, match=r"head\.weight"):
        recognizer_from_bundle(tensors, header)


def test_fresh_weights_come_from_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (recognizer("untrained", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_baseline_has_at_most_three_million_parameters():
    alphabet = "".join(chr(97 + index) for index in range(26)) + "'áéíóúüñ "
    made = build_recognizer(FinetuneConfig(side="logmel"), build_tokenizer([alphabet]))
    assert sum(parameter.numel() for parameter in made.parameters()) <= 3_000_000


def test_a_side_without_what_it_needs_is_refused():
    tokenizer = build_tokenizer(["a"])
    with pytest.raises(ValueError, match="must be given an encoder"):
        build_recognizer(FinetuneConfig(), tokenizer)
    made = recognizer("logmel")
    with pytest.raises(ValueError, match="must have tokens"):
        made(batch(["a"], made.tokenizer)._replace(tokens=None))
