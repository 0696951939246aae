"""Training from beginning to end: what it does, writes, shows and leaves as it was."""

import copy
import gc
import json
import math
import random
import signal
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechunits.audio.manifest import Recording
from speechunits.audio.sampler import Piece
from speechunits.config import OptimizerConfig
from speechunits.engine.train import Labels
from speechunits.errors import TrainingStopped, UsageError
from speechunits.units.bundle import read_bundle
from tests.engine.tiny import TinyLearner, run, same, settings, weights


def history(result):
    return [json.loads(line) for line in result.history.read_text().splitlines()]


def test_it_learns_and_reports(tmp_path, corpus, held_out):
    learner = TinyLearner()
    result = run(learner, tmp_path, corpus, held_out, steps=60, engine={"checkpoint_steps": 30})
    rows = history(result)
    train = [row for row in rows if row["kind"] == "train"]
    evaluations = [row for row in rows if row["kind"] == "held_out"]
    assert result.steps == result.total_steps == train[-1]["step"]
    planned = settings(corpus, steps=60, engine={"checkpoint_steps": 30})["budget"].hours
    assert result.audio_hours * 3600 == pytest.approx(planned * 3600 + 0.1, abs=1e-3)
    assert np.mean([row["loss"] for row in train[-5:]]) < 0.5 * np.mean([row["loss"] for row in train[:5]])
    assert train[-1]["loss_bits"] == pytest.approx(train[-1]["loss"] / math.log(2))
    assert {"lr", "grad_norm", "audio_hours", "wall_s", "audio_hours_per_hour"} <= train[-1].keys()
    assert [row["step"] for row in evaluations] == [math.ceil(result.steps / 2), result.steps]
    assert result.held_out == {name: evaluations[-1][name] for name in result.held_out}
    assert result.held_out["perplexity"] > 1
    assert not learner.training


def test_a_figure_over_nothing_is_none(tmp_path, corpus, held_out):
    class Partly(TinyLearner):
        def report(self, metrics, histograms):
            return super().report(metrics, histograms) | {"bits_12": math.nan}

    for _ in range(2):
        result = run(Partly(), tmp_path, corpus, held_out, steps=4)
        assert "bits_12" not in result.held_out
        assert result.held_out["bits"] == 0.5
    assert json.loads(result.history.read_text().splitlines()[-1])["bits_12"] is None


def test_held_out_speech_without_a_target_stops_it(tmp_path, corpus, held_out):
    class Targetless(TinyLearner):
        def forward(self, batch):
            loss = super().forward(batch)
            if self.training:
                return loss
            metrics = {name: (total * 0, count * 0) for name, (total, count) in loss.metrics.items()}
            return loss._replace(sum=loss.sum * 0, count=loss.count * 0, metrics=metrics)

    with pytest.raises(TrainingStopped, match="no frame of the held-out recordings is a target"):
        run(Targetless(), tmp_path, corpus, held_out, steps=4)


def test_the_learning_rate_rises_holds_and_decays(tmp_path, corpus):
    config = OptimizerConfig(lr=1e-3, warmup=0.25, hold=0.5, final_scale=0.1)
    rates = [row["lr"] for row in history(run(TinyLearner(), tmp_path, corpus, steps=40, optimizer=config))]
    assert rates[0] < 2e-4
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4, rel=0.3)


def test_same_seed_same_bytes_and_the_state_of_the_process_is_left_alone(tmp_path, corpus, held_out):
    torch.manual_seed(99)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is tested
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads()  # noqa: NPY002
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    one = TinyLearner()
    torch.set_rng_state(before[0])
    run(one, tmp_path / "one", corpus, held_out, engine={"threads": 1})
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert (before[2], before[3]) == (random.getstate(), torch.get_num_threads())
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    # Another stream, no evaluations, other checkpoints: none of it touches the weights.
    torch.manual_seed(1)
    other = TinyLearner()
    run(other, tmp_path / "other", corpus, engine={"held_out_evaluations": 0, "checkpoint_steps": 5, "threads": 1})
    assert same(weights(one), weights(other))
    third = TinyLearner()
    run(third, tmp_path / "third", corpus, seed=4)
    assert not same(weights(one), weights(third))


def test_ten_trainings_in_a_row_leave_nothing_behind(tmp_path, corpus, held_out):
    def once(number):
        learner = TinyLearner()
        folder = tmp_path / str(number)
        run(learner, folder, corpus, held_out, lasting=False, steps=6)
        assert copy.deepcopy(learner).state_dict().keys() == learner.state_dict().keys()
        return weights(learner), folder

    first, folder = once(0)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "metrics.jsonl", "training.json"]
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    once(1)
    threads, torch_threads = threading.active_count(), torch.get_num_threads()
    tracemalloc.start()
    gc.collect()
    base, _ = tracemalloc.get_traced_memory()
    for number in range(2, 10):
        assert same(first, once(number)[0])
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - base
    tracemalloc.stop()
    assert grown < 2_000_000
    assert threading.active_count() == threads
    assert torch.get_num_threads() == torch_threads
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_the_encoder_is_a_bundle_and_no_secret_is_written(tmp_path, corpus, held_out, monkeypatch, capfd):
    monkeypatch.setenv("SERVICE_TOKEN", "xyzzy-secret-4711")
    learner = TinyLearner()
    run(learner, tmp_path, corpus, held_out, engine={"tensorboard": True})
    tensors, header = read_bundle(tmp_path / "encoder.safetensors", "encoder")
    assert same(tensors, weights(learner))
    assert header["training"]["steps"] == 12
    steps = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert steps == ["step_12", "step_8"]
    assert all((tmp_path / "checkpoints" / step / "encoder.safetensors").exists() for step in steps)
    assert any((tmp_path / "tensorboard").iterdir())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 12
    assert not any(b"xyzzy-secret" in path.read_bytes() for path in files)
    shown = capfd.readouterr()
    assert "xyzzy-secret" not in shown.out + shown.err
    assert shown.out == ""


def test_progress_shows_loss_chance_bits_and_speed(tmp_path, corpus, held_out, capfd):
    run(TinyLearner(), tmp_path, corpus, held_out, label="tiny training")
    last = capfd.readouterr().err.splitlines()[-1]
    for part in ("tiny training: 100 %", "bits", "x real time", "chance 1.00", "held-out 0.50 bits", "perplexity 2"):
        assert part in last


def test_minutes_end_it_early_and_are_named(tmp_path, corpus, held_out):
    result = run(TinyLearner(), tmp_path, corpus, held_out, steps=5000, minutes=0.01)
    assert (result.stopped, result.total_steps > 4000) == ("minutes budget", True)
    assert 0 < result.steps < 4000
    assert result.held_out
    again = run(TinyLearner(), tmp_path, corpus, held_out, steps=5000, minutes=0.01)
    assert (again.steps, again.stopped) == (result.steps, "minutes budget")
    # More than was taken: on a slow machine the first step alone passes the limit.
    minutes = result.wall_s / 60 + 0.02
    longer = run(TinyLearner(), tmp_path, corpus, held_out, steps=5000, minutes=minutes)
    assert longer.steps > result.steps
    assert longer.resumed_from == result.steps


def test_what_is_done_is_not_done_again(tmp_path, corpus, held_out):
    first = TinyLearner()
    result = run(first, tmp_path, corpus, held_out)
    again = TinyLearner(seed=5)
    repeated = run(again, tmp_path, corpus, held_out)
    assert same(weights(first), weights(again))
    assert again.batches == []
    assert repeated.held_out == result.held_out
    assert (repeated.steps, repeated.resumed_from) == (result.steps, result.steps)
    with pytest.raises(UsageError, match="seed was 3, is 4"):
        run(TinyLearner(), tmp_path, corpus, held_out, seed=4)
    with pytest.raises(UsageError, match="parameters was"):
        run(TinyLearner(dim=4), tmp_path, corpus, held_out)


def test_crops_take_their_slice_of_the_units(tmp_path, corpus):
    units = {item.id: np.arange(1000) % 500 for item in corpus}
    learner = TinyLearner()
    run(learner, tmp_path, corpus, labels=Labels(units=units), batch={"crop_s": 1.0}, lasting=False)
    starts = set()
    for batch in learner.batches:
        counts = ((batch.lengths - 400) // 320 + 1).tolist()
        for row, count in zip(batch.units, counts, strict=True):
            assert (row[1:count] - row[: count - 1] == 1).all()
            assert (row[count:] == -1).all()
            starts.add(int(row[0]))
    assert len(starts) > 5


@pytest.mark.parametrize("meets", [False, True])
def test_speakers_meet_where_the_loss_compares_them(tmp_path, corpus, held_out, meets):
    voices, heard = [replace(item, speaker=f"s{place % 5}") for place, item in enumerate([*corpus, *held_out])], []

    class Comparing(TinyLearner):
        @property
        def meets_speakers(self):
            return meets

        def forward(self, batch):
            heard.append(set(batch.speakers))
            return super().forward(batch)

    run(Comparing(), tmp_path, voices, voices, batch={"batch_s": 6.0}, lasting=False)
    mixed = np.mean([len(speakers) for speakers in heard])
    assert mixed < 1.5 if meets else mixed > 2.5


def test_tokens_keep_recordings_whole_and_speeds_change_them(tmp_path, corpus):
    tokens = {item.id: np.arange(1, 4) for item in corpus}
    learner = TinyLearner()
    run(
        learner, tmp_path, corpus, labels=Labels(tokens=tokens), batch={"crop_s": 0.5}, speed=(0.9, 1.0, 1.1),
        lasting=False,
    )  # fmt: skip
    real = {item.id: item.duration_s * 16_000 for item in corpus}
    factors = set()
    for batch in learner.batches:
        assert (batch.tokens == torch.tensor([1, 2, 3])).all()
        factors |= {round(real[name] / n, 2) for name, n in zip(batch.ids, batch.lengths.tolist(), strict=True)}
    assert factors == {0.9, 1.0, 1.1}


def test_wrong_use_is_refused_before_anything_starts(tmp_path, corpus):
    units = {item.id: np.zeros(200, int) for item in corpus[1:]}
    with pytest.raises(UsageError, match="have no label"):
        run(TinyLearner(), tmp_path, corpus, labels=Labels(units=units))
    with pytest.raises(UsageError, match="nothing to train on"):
        run(TinyLearner(), tmp_path, [])
    with pytest.raises(UsageError, match="speed must be"):
        run(TinyLearner(), tmp_path, corpus, speed=(0.9, 1.1))
    with pytest.raises(ValueError, match="either units or tokens"):
        Labels()
    assert list(tmp_path.iterdir()) == []


def test_recordings_that_cannot_be_read_are_named_and_left_out(tmp_path, corpus, capfd):
    bad = tmp_path / "bad.wav"
    bad.write_text("this is no audio")
    broken = [Recording(id="broken", audio=bad, duration_s=2.0), Recording(id="gone", audio=tmp_path / "gone.wav",
              duration_s=1.0)]  # fmt: skip
    short = Recording(id="short", audio=bad, duration_s=0.1)
    learner = TinyLearner()
    result = run(learner, tmp_path / "run", [*corpus, *broken, short])
    assert (result.refused, result.left_out) == (2, 1)
    assert not {"broken", "gone"} & {name for batch in learner.batches for name in batch.ids}
    shown = capfd.readouterr().err
    assert shown.count("left out of training") == 2
    assert "bad.wav" in shown
    with pytest.raises(TrainingStopped, match="none of the training recordings"):
        run(TinyLearner(), tmp_path / "other", broken)


@pytest.mark.parametrize("bad_first", [False, True])
def test_a_fault_of_a_piece_leaves_out_no_other_whatever_is_read_first(corpus, capfd, bad_first):
    from speechunits.engine.native import prepare_fairseq2

    prepare_fairseq2()
    from speechunits.engine.reader import Loader

    stated = replace(corpus[0], id="stated", duration_s=8.0)  # Its file ends long before.
    beyond, within, other = Piece(0, 64_000, 96_000), Piece(0, 0, 8_000), Piece(1, 0, 8_000)
    refused = set()
    loader = Loader([stated, corpus[1]], None, 100, refused)
    batches = {"bad": (beyond, other), "good": (within, other)}
    found = {name: loader.batch(batches[name], 0).ids for name in sorted(batches, reverse=not bad_first)}
    assert loader.batch((beyond,), 1) is None
    assert found == {"bad": (corpus[1].id,), "good": ("stated", corpus[1].id)}
    assert [loader.is_lost(piece) for piece in (beyond, within, other)] == [True, False, False]
    assert refused == {"stated"}
    assert capfd.readouterr().err.count("left out of training") == 1


def test_accumulated_batches_count_as_one_step(tmp_path, corpus):
    learner = TinyLearner()
    result = run(learner, tmp_path, corpus, engine={"accumulate": 2})
    assert len(learner.batches) == 2 * result.steps
    assert len({batch.seed for batch in learner.batches}) == len(learner.batches)


def test_bf16_trains(tmp_path, corpus):
    learner = TinyLearner()
    dtypes = set()
    learner.head.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    run(learner, tmp_path, corpus, engine={"precision": "bf16"}, lasting=False)
    assert dtypes == {torch.bfloat16}
    assert {parameter.dtype for parameter in learner.parameters()} == {torch.float32}


def test_decoded_audio_on_disk_changes_nothing_and_is_shared(tmp_path, corpus, held_out, monkeypatch):
    learners = [TinyLearner() for _ in range(3)]
    kept = {"cache_dir": tmp_path / "cache", "cache_mb": 0}
    run(learners[0], tmp_path / "plain", corpus, held_out)
    run(learners[1], tmp_path / "first", corpus, held_out, batch=kept)
    made = {path.name for path in (tmp_path / "cache").glob("*.pcm")}
    assert made
    monkeypatch.setattr("speechunits.audio.cache.load_waveform", None)  # Whoever decodes now, fails.
    run(learners[2], tmp_path / "second", corpus, held_out, batch=kept)
    for learner in learners[1:]:
        assert same(weights(learner), weights(learners[0]))
        assert all(
            torch.equal(one.waveforms, other.waveforms)
            for one, other in zip(learner.batches, learners[0].batches, strict=True)
        )
    assert {path.name for path in (tmp_path / "cache").glob("*.pcm")} == made


def test_a_training_goes_on_with_its_audio_kept_elsewhere(tmp_path, corpus):
    run(TinyLearner(), tmp_path, corpus, steps=4)
    result = run(TinyLearner(), tmp_path, corpus, steps=4, batch={"cache_dir": tmp_path / "cache", "cache_mb": 1})
    assert result.steps == result.resumed_from == 4
