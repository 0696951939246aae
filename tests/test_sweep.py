"""The sweep: its cells, what is kept and what is made anew, and what a result holds."""

import errno
import json
import shutil
import signal
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechunits import finetuning, pipeline, sweep
from speechunits.asr.posteriors import read_posteriors
from speechunits.asr.recognizer import Recognizer
from speechunits.audio.corpus import load_corpus
from speechunits.audio.split import label_list
from speechunits.cell import Cell, cells, summarised
from speechunits.config import (
    FIELDS,
    AugmentConfig,
    FinetuneConfig,
    LanguageConfig,
    ReductionConfig,
    SelfTrainingConfig,
)
from speechunits.engine.train import TrainingResult
from speechunits.errors import Interrupted, TrainingStopped, UsageError
from speechunits.evaluation.score import scores_from_json
from speechunits.setting import Setting
from speechunits.sweep import cell_key, run_cell
from speechunits.units.bundle import read_bundle, write_bundle
from tests.spine import make_recipe

SIDES = ("pretrained", "untrained", "logmel")


@pytest.fixture
def setting(tiny_corpus, tiny_runs, tmp_path):
    recipe = make_recipe(tiny_corpus, tmp_path)
    return Setting(
        corpus=load_corpus(recipe.corpus), config=recipe.reduction, folder=tmp_path / "cells",
        encoder=tiny_runs / "tiny" / "pretrain" / "encoder.safetensors",
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch):
    """Put a training that learns nothing in place of the real one; return what it was called with."""
    calls = []

    def train(recognizer, **arguments):
        calls.append({"recognizer": recognizer, **arguments})
        return TrainingResult(steps=1, total_steps=1, audio_hours=0.1, wall_s=1.0, history=arguments["folder"] / "m")

    monkeypatch.setattr(finetuning, "train", train)
    return calls


def changed(setting, changes):
    """Return the setting with some recordings of its corpus changed: id to fields."""
    rows = tuple(replace(row, **changes.get(row.id, {})) for row in setting.corpus.recordings)
    return replace(setting, corpus=replace(setting.corpus, recordings=rows))


def saved_of(setting, trained_cell):
    """Return what the latest training of a cell left."""
    found = setting.folder.glob(f"{trained_cell.name}-*.json")
    return json.loads(max(found, key=lambda path: path.stat().st_mtime_ns).read_text())


def first_id(setting, split):
    return min(row.id for row in setting.corpus.split(split))


def cell(side="logmel", minutes=0.5, seed=0):
    return Cell(side=side, minutes=minutes, seed=seed)


def test_a_result_is_kept(setting, trained):
    first = run_cell(cell(), setting)
    assert run_cell(cell(), setting) == first
    assert len(trained) == 1
    run_cell(cell(seed=1), setting)
    assert len(trained) == 2


def test_a_result_is_made_anew_when_what_made_it_changes(setting, trained, tmp_path):
    run_cell(cell("pretrained"), setting)
    labelled = min(trained[0]["labels"].tokens)
    finetune = replace(setting.config.finetune, dropout=0.2)
    other = tmp_path / "other.safetensors"
    tensors, header = read_bundle(setting.encoder, "encoder")
    write_bundle(other, {name: tensor + 1 for name, tensor in tensors.items()}, header)
    variants = [
        changed(setting, {labelled: {"text": "otra cosa"}}),
        changed(setting, {first_id(setting, "dev"): {"text": "otra cosa"}}),
        changed(setting, {first_id(setting, "tune"): {"text": "otra cosa"}}),
        changed(setting, {labelled: {"start_s": 0.0, "end_s": 0.9}}),
        changed(setting, {labelled: {"start_s": 0.1, "end_s": 0.9}}),
        changed(setting, {first_id(setting, "dev"): {"start_s": 0.1, "end_s": 0.9}}),
        replace(setting, config=replace(setting.config, finetune=finetune)),
        replace(setting, encoder=other),
    ]
    for count, variant in enumerate(variants, start=2):
        run_cell(cell("pretrained"), variant)
        assert len(trained) == count
        run_cell(cell("pretrained"), variant)
        assert len(trained) == count
    # With self-training, what is labelled by the recogniser itself decides, too.
    rounds = replace(setting, config=replace(setting.config, finetune=replace(
        setting.config.finetune, self_training=SelfTrainingConfig(rounds=1))))  # fmt: skip
    more = replace(setting.corpus.split("train")[0], id="more", text=None)
    wider = replace(rounds, corpus=replace(rounds.corpus, recordings=(*rounds.corpus.recordings, more)))
    assert cell_key(cell("pretrained"), wider) != cell_key(cell("pretrained"), rounds)
    assert cell_key(cell(), wider) == cell_key(cell(), setting)
    # What does not take part in a cell does not make it anew.
    run_cell(cell(), setting)
    run_cell(cell(), replace(setting, encoder=other))
    run_cell(cell(), changed(setting, {first_id(setting, "test"): {"text": "otra cosa"}}))
    assert len(trained) == len(variants) + 2


def test_a_kept_bundle_is_that_of_its_cell(setting, trained, tmp_path):
    keep = tmp_path / "asr.safetensors"
    run_cell(cell(), setting)
    run_cell(cell(), setting, keep=keep)
    assert len(trained) == 2
    run_cell(cell(), setting, keep=keep)
    assert len(trained) == 2
    run_cell(cell(minutes=1.0), setting)
    run_cell(cell(minutes=1.0), setting, keep=keep)
    assert len(trained) == 4
    run_cell(cell("untrained"), setting, keep=keep)
    assert read_bundle(keep, "recognizer")[1]["side"] == "untrained"


def test_results_hold_hashes_errors_and_lengths_but_no_text(setting, trained):
    scores = run_cell(cell(), setting)
    assert [score.split for score in scores] == ["dev", "tune"]
    for score in scores:
        rows = setting.corpus.split(score.split)
        assert score.lengths == tuple(len(row.text) for row in rows)
        assert len(set(score.hashes)) == len(rows)
        assert score.minutes_actual == pytest.approx(sum(row.duration_s for row in trained[0]["train"]) / 60)
    assert 0.5 <= scores[0].minutes_actual < 0.7
    key = cell_key(cell(), setting)
    saved = setting.kept_at(cell(), key, ".json").read_text()
    assert scores_from_json(json.loads(saved)["scores"]) == scores
    for row in setting.corpus.recordings:
        assert row.id not in saved
        assert row.text not in saved
    hypotheses = json.loads((setting.kept_at(cell(), key) / "dev.json").read_text())
    assert sorted(hypotheses) == sorted(row.id for row in setting.corpus.split("dev"))


def test_the_untrained_side_differs_in_its_weights_only(setting, trained):
    for side in SIDES:
        run_cell(cell(side), setting)
    pretrained, untrained, logmel = (call["recognizer"].network for call in trained)
    shapes = {name: value.shape for name, value in pretrained.state_dict().items()}
    assert shapes == {name: value.shape for name, value in untrained.state_dict().items()}
    assert untrained.encoder.config == pretrained.encoder.config
    assert untrained.encoder.config.dim == 32
    tensors, _ = read_bundle(setting.encoder, "encoder")
    equal = [
        [torch.equal(value, tensors[f"encoder.{name}"]) for name, value in network.encoder.state_dict().items()]
        for network in (pretrained, untrained)
    ]
    assert all(equal[0])
    assert not all(equal[1])
    assert type(logmel) is not type(pretrained)
    lists = [sorted(call["labels"].tokens) for call in trained]
    assert lists[0] == lists[1] == lists[2]


def test_what_recognises_nothing_is_named(setting, trained, monkeypatch):
    monkeypatch.setattr(sweep, "greedy_text", lambda model, heard: "")
    scores = run_cell(cell(), setting)
    assert all(score.all_blank and score.errors == score.lengths and score.cer == 1.0 for score in scores)
    said = "logmel-0.5-0: CER 100.0 % on dev, 100.0 % on tune (all blank: it recognised nothing)"
    assert summarised(cell(), scores, setting.config) == said
    phones = SimpleNamespace(finetune=SimpleNamespace(tokens="phones"))
    assert summarised(cell(), scores, phones) == said.replace("CER", "PER")


def test_characters_unseen_in_training_are_counted(setting, trained):
    # Only tune has them: they cannot be learnt, are dropped from its tokens, and still count as errors on it.
    name = first_id(setting, "tune")
    text = next(row.text for row in setting.corpus.recordings if row.id == name) + "øø"
    scores = run_cell(cell(), changed(setting, {name: {"text": text}}))
    saved = saved_of(setting, cell())
    assert saved["outcome"]["unseen_characters"]["ø"] == 2
    assert len(text) in scores[1].lengths


def test_text_longer_than_its_frames_is_left_out_and_named(setting, trained, capsys):
    run_cell(cell(), setting)
    ids = sorted(trained[0]["labels"].tokens)
    chosen = min({row.id for row in setting.corpus.split("train")}.intersection(ids))
    run_cell(cell(), changed(setting, {chosen: {"text": "ab" * 2000}}))
    assert f"logmel-0.5-0: {chosen} is left out: its text needs 4000 frames" in capsys.readouterr().err
    assert chosen not in {row.id for row in trained[1]["train"]}
    assert len(trained[1]["train"]) == len(trained[0]["train"]) - 1
    saved = saved_of(setting, cell())
    assert saved["outcome"]["left_out"] == 1
    everything = {row.id: {"text": "ab" * 2000} for row in setting.corpus.split("train")}
    with pytest.raises(UsageError, match=r"none of the \d+ labelled recordings can be trained on"):
        run_cell(cell(), changed(setting, everything))


def test_one_utterance_is_enough(setting, trained):
    train = [row.id for row in setting.corpus.split("train")]
    lonely = changed(
        setting, {name: {"text": "  " if index == 1 else None} for index, name in enumerate(train) if index}
    )
    run_cell(cell(minutes=None), lonely)
    assert [row.id for row in trained[0]["train"]] == train[:1]
    saved = saved_of(setting, cell(minutes=None))
    assert saved["outcome"]["left_out"] == 1  # the one whose text is nothing but spaces


def test_what_has_no_transcript_is_neither_recognised_nor_counted(setting, trained):
    """Hours without labels are the usual case: their recordings are in ``tune``, too."""
    whole = run_cell(cell(), setting)
    without = [row.id for row in setting.corpus.split("dev")[1:]] + [row.id for row in setting.corpus.split("tune")[1:]]
    partly = changed(setting, {name: {"text": " \u00a0" if index % 2 else None} for index, name in enumerate(without)})
    scores = run_cell(cell(), partly)
    assert len(trained) == 2
    for few, all_of_them in zip(scores, whole, strict=True):
        assert (len(few.errors), few.hashes) == (1, all_of_them.hashes[:1])
        assert few.lengths[0] == all_of_them.lengths[0] > 0


def test_white_space_is_counted_as_tokens_spell_it(setting, trained):
    name = first_id(setting, "dev")
    text = next(row.text for row in setting.corpus.recordings if row.id == name)
    spaced = changed(setting, {name: {"text": f" {text.replace(' ', '  ')}\u00a0"}})
    found, usual = ({score.split: score for score in run_cell(cell(), each)} for each in (spaced, setting))
    assert found["dev"].lengths == usual["dev"].lengths
    assert found["dev"].errors == usual["dev"].errors


def test_trainings_of_other_settings_lie_beside_each_other(setting, trained):
    """What is tried by hand must not take the place of what a sweep has trained."""
    run_cell(cell(), setting)
    other = replace(setting, config=replace(setting.config, logmel=replace(setting.config.logmel, dropout=0.7)))
    run_cell(cell(), other)
    run_cell(cell(), setting)
    run_cell(cell(), other)
    assert len(trained) == 2
    assert trained[0]["folder"] != trained[1]["folder"]
    # A trial of the same settings is the same training.
    run_cell(replace(cell(), trial=0), setting)
    assert len(trained) == 2


def test_a_full_disk_stops_the_sweep_and_says_where(setting, trained, monkeypatch):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(sweep, "write_json", full)
    with pytest.raises(TrainingStopped, match=r"the disk is full \(.*logmel-0.5-0-.*\); trainings that were finished"):
        run_cell(cell(), setting)
    monkeypatch.setattr(sweep, "write_json", lambda path, _: (path / "no").open())
    # Another fault of the system is not taken for it.
    with pytest.raises(OSError, match="No such file"):
        run_cell(cell(), setting)


def test_posteriors_are_kept_and_spell_the_hypotheses(setting, trained):
    run_cell(cell(), setting)
    assert setting.has_posteriors(cell(), sweep.cell_key(cell(), setting))
    saved = read_posteriors(setting.posteriors_of(cell(), sweep.cell_key(cell(), setting))["dev"])
    assert saved.key == saved_of(setting, cell())["key"]
    hypotheses = json.loads((setting.kept_at(cell(), saved.key) / "dev.json").read_text())
    assert list(saved.heard) == list(hypotheses)
    assert all(heard.shape[1] == len(saved.tokenizer) for heard in saved.heard.values())
    assert all(np.exp(heard).sum(-1) == pytest.approx(1, abs=0.01) for heard in saved.heard.values() if len(heard))


def test_a_cell_without_posteriors_is_kept_or_trained_again(setting, trained):
    run_cell(cell(), setting)
    setting.posteriors_of(cell(), sweep.cell_key(cell(), setting))["dev"].unlink()
    language = LanguageConfig(rows=("own",))
    with_rows = replace(setting, config=replace(setting.config, language=language))
    run_cell(cell(), with_rows)
    assert len(trained) == 1
    again = replace(setting, config=replace(setting.config, language=replace(language, train_again=True)))
    run_cell(cell(), again)
    assert len(trained) == 2
    assert setting.has_posteriors(cell(), sweep.cell_key(cell(), setting))
    run_cell(cell(), again)
    assert len(trained) == 2


def test_equal_compute_adds_hours_and_changes_no_other_cell(setting, trained):
    run_cell(cell(), setting)
    more = replace(setting, extra_hours={"logmel": 2.0, "untrained": 1.0})
    run_cell(cell(), more)
    assert len(trained) == 1
    run_cell(replace(cell(), compute="equal"), more)
    hours = [call["budget"].hours for call in trained]
    assert hours[1] == pytest.approx(hours[0] + 2.0)
    assert len(list(setting.folder.glob("logmel-0.5-0-equal-*.json"))) == 1


def test_the_same_seed_gives_the_same_scores(setting, tmp_path):
    for side in ("pretrained", "logmel"):
        first = run_cell(cell(side), setting)
        again = run_cell(cell(side), replace(setting, folder=tmp_path / "again"))
        assert first == again
        hypotheses = [
            json.loads(next(folder.glob(f"{side}-0.5-0-*/dev.json")).read_text())
            for folder in (setting.folder, tmp_path / "again")
        ]
        assert hypotheses[0] == hypotheses[1]


def test_a_killed_sweep_goes_on(tiny_corpus, tiny_runs, tmp_path, monkeypatch):
    shutil.copytree(tiny_runs, tmp_path / "runs")
    recipe = make_recipe(tiny_corpus, tmp_path / "runs")
    real, counted = finetuning.train, Counter()

    def train(recognizer, **arguments):
        counted[arguments["label"]] += 1
        if sum(counted.values()) == 3:
            raise Interrupted("stopped by SIGTERM", 15)
        return real(recognizer, **arguments)

    monkeypatch.setattr(finetuning, "train", train)
    with pytest.raises(Interrupted) as stopped:
        pipeline.run(recipe, ("reduction",))
    assert stopped.value.exit_code == 143
    names = [cell.name for cell in cells(recipe.reduction)]
    kept = tmp_path / "runs" / "tiny" / "cells"
    assert sorted(path.stem[:-9] for path in kept.glob("*.json")) == sorted(names[:2])
    assert not (tmp_path / "runs" / "tiny" / "results.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    pipeline.run(recipe, ("reduction",))
    assert counted == Counter(dict.fromkeys(names, 1) | {names[2]: 2})
    assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    found = {(score["side"], score["minutes"], score["seed"], score["split"]) for score in results["scores"]}
    assert found == {
        (cell.side, cell.minutes, cell.seed, split) for cell in cells(recipe.reduction) for split in ("dev", "tune")
    }
    assert results["trials"] == {"pretrained": 1, "untrained": 1, "logmel": 1}


def counted_batches(monkeypatch, acting=None):
    """Count the batches that recognisers are trained on; ``acting`` maps one's number to what happens in it."""
    seen, forward = [], Recognizer.forward

    def counting(recognizer, batch):
        if recognizer.training:
            seen.append(batch.ids)
            (acting or {}).get(len(seen), lambda: None)()
        return forward(recognizer, batch)

    monkeypatch.setattr(Recognizer, "forward", counting)
    return seen


@pytest.mark.parametrize(
    ("side", "changes"),
    [
        ("pretrained", {"frozen": 0.6, "average": 0.5}),
        ("logmel", {"patience": 9}),
        ("logmel", {"self_training": SelfTrainingConfig(rounds=1, share=0.5), "average": 0.5}),
    ],
)
def test_an_interrupted_training_goes_on_where_it_was(setting, tmp_path, monkeypatch, side, changes):
    field = "finetune" if side == "pretrained" else side
    base = getattr(setting.config, field)
    engine = replace(base.engine, checkpoint_minutes=600.0, held_out_evaluations=4)
    longer = replace(base, budget=replace(base.budget, hours=0.02), engine=engine, **changes)
    setting = replace(setting, config=replace(setting.config, **{field: longer}))
    with monkeypatch.context() as patch:
        whole = counted_batches(patch)
        expected = run_cell(cell(side), setting)
    stop = round(0.8 * len(whole))
    elsewhere = replace(setting, folder=tmp_path / "interrupted")
    with monkeypatch.context() as patch:
        before = counted_batches(patch, {stop: lambda: signal.raise_signal(signal.SIGTERM)})
        with pytest.raises(Interrupted, match=r"the checkpoint of step \d+ is kept in .*; the same command resumes"):
            run_cell(cell(side), elsewhere)
    with monkeypatch.context() as patch:
        after = counted_batches(patch)
        assert run_cell(cell(side), elsewhere) == expected
    # Without rounds nothing is trained twice; an earlier round was over, and short enough to be trained again.
    again = 0 if not longer.self_training.rounds else len(whole) // 2
    assert len(before) + len(after) == pytest.approx(len(whole) + again, abs=2)
    assert whole[-len(after) :] == after if not again else whole[-1] == after[-1]
    key = cell_key(cell(side), setting)
    one, other = (read_posteriors(kept.posteriors_of(cell(side), key)["dev"]).heard for kept in (setting, elsewhere))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not list(elsewhere.folder.rglob("checkpoints")), "what a training could be resumed from goes with its end"


def test_what_a_killed_process_left_to_resume_from_goes_once_there_are_scores(setting, trained):
    scores = run_cell(cell("logmel"), setting)
    left = setting.kept_at(cell("logmel"), cell_key(cell("logmel"), setting)) / "checkpoints" / "step_1"
    left.mkdir(parents=True)
    assert run_cell(cell("logmel"), setting) == scores
    assert len(trained) == 1
    assert not left.parent.exists()


def test_what_is_heard_seldom_is_not_masked(setting, trained):
    labelled_s = sum(row.duration_s for row in label_list(setting.corpus.recordings, cell().minutes, 0))
    times = 3600 * setting.config.logmel.budget.hours / labelled_s
    for masks_from in (0.0, 0.99 * times, 1.01 * times):
        augment = replace(setting.config.logmel.augment, masks_from=masks_from)
        logmel = replace(setting.config.logmel, augment=augment)
        run_cell(cell(), replace(setting, config=replace(setting.config, logmel=logmel)))
    masks = [call["recognizer"].config.augment for call in trained]
    assert [(augment.time_masks, augment.channel_masks) for augment in masks] == [(2, 2), (2, 2), (0, 0)]


def test_phones_are_recognised_in_place_of_characters(setting, trained):
    phones = replace(setting.config, **{
        side: replace(getattr(setting.config, side), tokens="phones") for side in ("finetune", "untrained", "logmel")
    })  # fmt: skip
    setting = Setting(corpus=setting.corpus, config=phones, encoder=setting.encoder, folder=setting.folder)
    scores = run_cell(cell(), setting)
    rows = setting.corpus.split("dev")
    spoken = {row.id: [phone.label for phone in setting.corpus.phones[row.id] if phone.label != "SIL"] for row in rows}
    assert [row.text.split() for row in rows] == [spoken[row.id] for row in rows]
    assert scores[0].lengths == tuple(len(spoken[row.id]) for row in rows)
    tokenizer = trained[0]["recognizer"].tokenizer
    assert set(tokenizer.symbols[1:]) <= {
        label for row in setting.corpus.recordings for label in (row.text or "").split()
    }
    assert max(map(len, tokenizer.symbols)) > 1


def test_phones_must_be_known_and_on_all_sides(setting):
    with pytest.raises(ValueError, match="phones on all sides or on none"):
        replace(setting.config, finetune=replace(setting.config.finetune, tokens="phones"))
    sides = {FIELDS[side]: FinetuneConfig(side=side, tokens="phones") for side in ("pretrained", "untrained", "logmel")}
    phones = ReductionConfig(**sides)
    with pytest.raises(UsageError, match="must have phones"):
        Setting(
            corpus=replace(setting.corpus, phones={}), config=phones, encoder=setting.encoder, folder=setting.folder
        )


def test_units_are_read_on_a_side_of_their_own(setting, trained, tiny_runs):
    config = replace(setting.config, read_units=True)
    assert [item.name for item in cells(config) if item.side == "units"] == ["units-0.5-0"]
    assert not [item for item in cells(setting.config) if item.side == "units"]
    with pytest.raises(UsageError, match="needs an inventory"):
        run_cell(cell("units"), replace(setting, config=config))
    units = tiny_runs / "tiny" / "units.safetensors"
    run_cell(cell("units"), replace(setting, config=config, units=units))
    assert trained[0]["recognizer"].network.inventory.clusters == 12
    run_cell(cell("units"), replace(setting, config=config, units=units))
    assert len(trained) == 1
    run_cell(cell("units"), replace(setting, config=config, units=tiny_runs / "tiny" / "mfcc.safetensors"))
    assert len(trained) == 2


def test_settings_that_came_later_change_the_key_only_where_they_are_used(setting, trained):
    run_cell(cell(), setting)
    key = saved_of(setting, cell())["key"]
    base = setting.config.logmel
    assert finetuning.deciding(base).keys().isdisjoint({"average", "patience", "unit_input"})
    elsewhere = replace(
        base, batch=replace(base.batch, cache_dir=setting.folder, cache_disk_mb=1, features_ahead="none", cache_mb=1)
    )
    assert finetuning.deciding(elsewhere) == finetuning.deciding(base)
    # How often there is an evaluation decides nothing, unless training ends by them.
    for patience, same in ((0, True), (3, False)):
        often, seldom = (
            replace(base, patience=patience, engine=replace(base.engine, held_out_evaluations=count))
            for count in (9, 2)
        )
        assert (finetuning.deciding(often) == finetuning.deciding(seldom)) == same
    averaged = replace(setting, config=replace(setting.config, logmel=replace(base, average=0.2)))
    run_cell(cell(), averaged)
    assert saved_of(averaged, cell())["key"] != key
    assert len(trained) == 2


def test_what_a_training_is_asked_for_reaches_the_engine(setting, trained):
    asked = replace(
        setting.config.logmel, patience=3, augment=AugmentConfig(speed=(0.8, 1.0)), tokens="sentencepiece", pieces=30,
        encoder_lr_scale=0.5, average=0.0,
    )  # fmt: skip
    run_cell(cell(), replace(setting, config=replace(setting.config, logmel=asked)))
    (call,) = trained
    assert (call["patience"], call["speed"], call["budget"]) == (3, (0.8, 1.0), asked.budget)
    tokenizer = call["recognizer"].tokenizer
    assert tokenizer.model is not None
    texts = {row.id: row.text for row in setting.corpus.recordings}
    for name, tokens in call["labels"].tokens.items():
        assert set(tokenizer.decode(tokens.tolist())) <= set(texts[name])


def test_a_recogniser_teaches_the_next_one_what_it_is_surest_of(setting, monkeypatch):
    rounds = []

    def train(recognizer, **arguments):
        rounds.append([row.id for row in arguments["train"]])
        torch.nn.init.normal_(recognizer.head.weight, std=0.5, generator=torch.Generator().manual_seed(0))
        return TrainingResult(steps=1, total_steps=1, audio_hours=0.1, wall_s=1.0, history=arguments["folder"] / "m")

    monkeypatch.setattr(finetuning, "train", train)
    taught = replace(setting.config.logmel, self_training=SelfTrainingConfig(rounds=2, share=0.5))
    setting = replace(setting, config=replace(setting.config, logmel=taught))
    run_cell(cell(), setting)
    rest = {row.id for row in setting.corpus.split("train")} - set(rounds[0])
    assert len(rounds) == 3
    for later in rounds[1:]:
        assert later[: len(rounds[0])] == rounds[0]
        assert 0 < len(later) - len(rounds[0]) <= round(0.5 * len(rest))
        assert set(later[len(rounds[0]) :]) <= rest
    outcome = saved_of(setting, cell())["outcome"]
    assert len(outcome["rounds"]) == 2
    # Earlier rounds count in full.
    assert (outcome["audio_hours"], outcome["steps"], outcome["wall_s"]) == (pytest.approx(0.3), 3, 3.0)


def test_one_rank_listens_and_the_others_train_on_what_it_heard(setting, tmp_path, monkeypatch):
    rows = list(setting.corpus.split("train"))
    labelled, rest = rows[:2], rows[2:]
    heard = [replace(rest[2], text="c"), replace(rest[0], text="a")]
    config = replace(setting.config.logmel, self_training=SelfTrainingConfig(rounds=1))
    path = tmp_path / "round1" / "labels.json"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with monkeypatch.context() as first:
        first.setenv("RANK", "0")
        first.setattr(finetuning, "self_labelled", lambda *_: heard)
        assert finetuning._own_labels(None, config, labelled, rest, path, None) == heard
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(finetuning, "self_labelled", lambda *_: pytest.fail("the second rank listens, too"))
    assert finetuning._own_labels(None, config, labelled, rest, path, None) == heard
    # What was heard among other recordings is not taken.
    monkeypatch.setattr(finetuning, "awaited", lambda find: find() or {})
    assert finetuning._own_labels(None, config, labelled, rest[1:], path, None) == []


def test_the_surest_share_comes_first(setting, monkeypatch):
    rows = setting.corpus.split("dev")[:4]
    sure = dict(zip([row.id for row in rows], [0.3, 0.9, 0.6, 0.9], strict=True))
    texts = dict(zip(sure, ["a", "b", "c", " "], strict=True))
    monkeypatch.setattr(
        finetuning, "recording_posteriors", lambda *_, **__: [(row, np.zeros((3, 2), np.float32)) for row in rows]
    )
    monkeypatch.setattr(
        finetuning, "make_hypothesis",
        lambda _, name, *__: SimpleNamespace(confidence=sure[name], text=texts[name]),
    )  # fmt: skip
    chosen = finetuning.self_labelled(None, rows, 0.5)
    assert [(row.id, row.text) for row in chosen] == [(rows[1].id, "b"), (rows[2].id, "c")]
