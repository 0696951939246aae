"""Pretraining in passes: where each starts, what it predicts, and that what is done is not done again."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from speechunits import pretraining
from speechunits.audio.corpus import load_corpus
from speechunits.errors import UsageError
from speechunits.evaluation.phones import frame_phones
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.pretraining import phone_targets, pretrain_passes
from speechunits.run import file_hash, read_json
from speechunits.units.bundle import read_bundle
from speechunits.units.units import Units
from tests.spine import make_recipe


@pytest.fixture(scope="module")
def recipe(tiny_corpus, tmp_path_factory):
    changes = {"masked_prediction": {"passes": 2, "target_layer": "auto"}, "budget": {"hours": 0.04}}
    return make_recipe(tiny_corpus, tmp_path_factory.mktemp("runs"), pretrain=changes)


@pytest.fixture(scope="module")
def corpus(recipe):
    return load_corpus(recipe.corpus)


@pytest.fixture(scope="module")
def two_passes(recipe, corpus, tmp_path_factory):
    """Return the folder of a pretraining of two passes, and what each training began with."""
    calls, real = [], pretraining.train

    def train(learner, **arguments):
        weights = {name: value.detach().clone() for name, value in learner.encoder.state_dict().items()}
        calls.append({"weights": weights, **arguments})
        return real(learner, **arguments)

    folder = tmp_path_factory.mktemp("two") / "pretrain"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "train", train)
        pretrain_passes(recipe.pretrain, corpus, folder)
    return folder, calls


def same(weights, bundle):
    tensors, _ = read_bundle(bundle, "encoder")
    return [torch.equal(value, tensors[f"encoder.{name}"]) for name, value in weights.items()]


def test_the_second_pass_starts_from_the_firsts_encoder(two_passes):
    folder, (first, second) = two_passes
    assert (first["folder"], second["folder"]) == (folder / "pass1", folder)
    assert all(same(second["weights"], folder / "pass1" / "encoder.safetensors"))
    assert not all(same(first["weights"], folder / "pass1" / "encoder.safetensors"))
    assert not all(same(second["weights"], folder / "encoder.safetensors"))
    assert [call["budget"].hours for call in (first, second)] == [0.02, 0.02]
    assert first["seed"] != second["seed"]


def test_the_second_pass_predicts_units_of_the_firsts_encoder(two_passes, corpus):
    folder, (first, second) = two_passes
    early, late = Units.load(folder / "pass1" / "targets.safetensors"), Units.load(folder / "targets.safetensors")
    assert (early.header["units"]["source"], late.header["units"]["source"]) == ("mfcc", "kmeans")
    assert late.clusters == 12
    encoder, _ = read_bundle(folder / "pass1" / "encoder.safetensors", "encoder")
    held = {name: value for name, value in late.tensors.items() if name.startswith("encoder.")}
    assert held
    assert all(torch.equal(value, encoder[name]) for name, value in held.items())
    rows = [*corpus.split("train"), *corpus.split("tune")]
    for units, call in ((early, first), (late, second)):
        assert sorted(call["labels"].units) == sorted(row.id for row in rows)
        for row, found in units.recordings(rows[:3]):
            assert np.array_equal(call["labels"].units[row.id], found)


def test_only_train_is_trained_on_and_only_tune_is_held_out(two_passes, corpus):
    _, calls = two_passes
    for call in calls:
        assert {row.split for row in call["train"]} == {"train"}
        assert {row.split for row in call["held_out"]} == {"tune"}


def test_the_record_holds_both_passes(two_passes, recipe):
    folder, _ = two_passes
    record = read_json(folder / "pretrain.json")
    assert len(record["passes"]) == 2
    assert sum(part["audio_hours"] for part in record["passes"]) == pytest.approx(0.04, rel=0.4)
    assert all("bits" in part["held_out"] for part in record["passes"])
    assert record["provenance"]["manifest_sha256"] == file_hash(recipe.corpus.manifest)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_calling_again_changes_nothing(two_passes, recipe, corpus, monkeypatch, elsewhere):
    folder, _ = two_passes
    here = pretraining.cpu_computes_bf16()
    precisions = [Units.load(place / "targets.safetensors").header["units"]["precision"]
                  for place in (folder / "pass1", folder)]  # fmt: skip
    assert precisions == ["fp32", "bf16" if here else "fp32"]
    # Targets that a machine of the other kind has made are kept.
    monkeypatch.setattr(pretraining, "cpu_computes_bf16", lambda: here != elsewhere)
    kept = [
        path for place in (folder, folder / "pass1")
        for path in (place / "metrics.jsonl", place / "encoder.safetensors", place / "targets.safetensors")
    ]  # fmt: skip
    before = [file_hash(path) for path in kept]
    passes = read_json(folder / "pretrain.json")["passes"]
    # Nor are the units that were predicted found again.
    monkeypatch.setattr(Units, "recordings", lambda *_: pytest.fail("units are found again"))
    pretrain_passes(recipe.pretrain, corpus, folder)
    assert [file_hash(path) for path in kept] == before
    again = read_json(folder / "pretrain.json")["passes"]
    for name in ("steps", "audio_hours", "held_out", "stopped"):
        assert [part[name] for part in again] == [part[name] for part in passes]


def test_a_recording_that_cannot_be_read_is_named_and_the_rest_is_learnt_from(recipe, corpus, tmp_path, capsys):
    victim = max(corpus.split("train"), key=lambda row: row.duration_s)
    samples = np.zeros(round(victim.duration_s * SAMPLE_RATE_HZ), np.float32)
    samples[len(samples) // 2] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, SAMPLE_RATE_HZ, subtype="FLOAT")
    rows = tuple(replace(row, audio=tmp_path / "bad.wav") if row is victim else row for row in corpus.recordings)
    broken = replace(corpus, recordings=rows, refused=[])
    pretrain_passes(recipe.pretrain, broken, tmp_path / "pretrain")
    assert broken.refused == [victim.id]
    said = capsys.readouterr().err
    assert f"refused: {victim.id}: " in said
    assert len(read_json(tmp_path / "pretrain" / "pretrain.json")["passes"]) == 2


def test_other_settings_in_the_same_folder_are_refused(two_passes, recipe, corpus):
    folder, _ = two_passes
    before = file_hash(folder / "encoder.safetensors")
    faster = replace(recipe.pretrain, optimizer=replace(recipe.pretrain.optimizer, lr=0.1))
    with pytest.raises(UsageError, match=r"holds a training with other settings .*another name \(name=NEW\)"):
        pretrain_passes(faster, corpus, folder)
    other = replace(recipe.pretrain, start=folder)
    with pytest.raises(UsageError, match=r"holds a training with other settings .*origin was None"):
        pretrain_passes(other, corpus, folder)
    sharper = replace(recipe.pretrain, masked_prediction=replace(recipe.pretrain.masked_prediction, temperature=0.01))
    with pytest.raises(UsageError, match=r"holds a training with other settings \(learner was"):
        pretrain_passes(sharper, corpus, folder)
    assert file_hash(folder / "encoder.safetensors") == before


def test_wav2vec2_runs_one_pass_without_targets(recipe, corpus, tmp_path):
    config = replace(
        recipe.pretrain, learner="wav2vec2", budget=replace(recipe.pretrain.budget, hours=0.015),
        wav2vec2=replace(
            recipe.pretrain.wav2vec2, quantizer=replace(recipe.pretrain.wav2vec2.quantizer, entries=8), final_dim=16
        ),
    )  # fmt: skip
    pretrain_passes(config, corpus, tmp_path / "pretrain")
    assert len(read_json(tmp_path / "pretrain" / "pretrain.json")["passes"]) == 1
    assert not list(tmp_path.rglob("targets.safetensors"))
    assert not (tmp_path / "pretrain" / "pass1").exists()
    tensors, header = read_bundle(tmp_path / "pretrain" / "encoder.safetensors", "encoder")
    assert any(name.startswith("quantizer.") for name in tensors)
    assert header["quantizer"]["entries"] == 8


def test_the_weights_come_from_the_seed_and_leave_torchs_generator_alone(recipe):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = pretraining._learner(recipe.pretrain, None).state_dict()
    assert torch.equal(torch.rand(3), expected)
    two = pretraining._learner(recipe.pretrain, None).state_dict()
    other = pretraining._learner(replace(recipe.pretrain, seed=1), None).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("targets", ["encoder", "mfcc"])
def test_a_pretraining_may_begin_with_another_encoder(two_passes, recipe, corpus, tmp_path, monkeypatch, targets):
    """Its weights, and its units or those of MFCC: what a pass of the same recipe begins with."""
    first, calls = two_passes[0] / "pass1", []

    def train(learner, *, labels, **_):
        calls.append((learner.encoder.state_dict(), labels))
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "train", train)
    settings = replace(recipe.pretrain.masked_prediction, passes=1, first_targets=targets)
    config = replace(recipe.pretrain, start=first, masked_prediction=settings)
    with pytest.raises(KeyboardInterrupt):
        pretrain_passes(config, corpus, tmp_path / "pretrain")
    ((held, labels),) = calls
    assert all(same(held, first / "encoder.safetensors"))
    expected = two_passes[1][targets == "encoder"]["labels"].units
    assert all(np.array_equal(units, expected[name]) for name, units in labels.units.items())


def test_an_encoder_of_another_shape_is_named(two_passes, recipe):
    first, encoder = two_passes[0] / "pass1" / "encoder.safetensors", recipe.pretrain.encoder
    pretraining._learner(replace(recipe.pretrain, encoder=replace(encoder, dropout=0.3)), first)
    config = replace(recipe.pretrain, encoder=replace(encoder, position_kernel=15))
    with pytest.raises(UsageError, match=r"another encoder: its position_kernel differ; give pretrain\.encoder"):
        pretraining._learner(config, first)


def test_phones_are_numbered_and_unknown_ones_no_target(corpus):
    labels, kinds = phone_targets(corpus)
    row = corpus.split("train")[0]
    found = labels.units[row.id]
    expected = frame_phones(corpus.phones[row.id], len(found))
    assert len(found) >= frame_count(round(row.duration_s * 16_000))
    assert {number for units in labels.units.values() for number in units.tolist()} - {-1} == set(range(kinds))
    pairs = set(zip(found.tolist(), expected, strict=True))
    assert len(pairs) == len({phone for _, phone in pairs}) == len({number for number, _ in pairs})
    assert all((number == -1) == (phone in (None, "UNK")) for number, phone in pairs)


def test_an_encoder_learns_the_phones_of_an_aligned_corpus(recipe, corpus, tmp_path):
    settings = replace(recipe.pretrain.masked_prediction, passes=1, targets="phones")
    config = replace(recipe.pretrain, masked_prediction=settings, budget=replace(recipe.pretrain.budget, hours=0.02))
    pretrain_passes(config, corpus, tmp_path / "pretrain")
    assert not list(tmp_path.rglob("targets.safetensors"))
    _, header = read_bundle(tmp_path / "pretrain" / "encoder.safetensors", "encoder")
    assert header["clusters"] == phone_targets(corpus)[1]
    unaligned = replace(corpus, phones={})
    with pytest.raises(UsageError, match=r"alignment of every recording, but .* name corpus\.phones"):
        pretrain_passes(config, unaligned, tmp_path / "other")
