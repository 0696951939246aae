"""FLOPs, utilisation, padding and waiting, from the arithmetic up to the files of a training."""

import json

import numpy as np
import pytest
import torch

from speechunits.config import EncoderConfig, MaskedPredictionConfig, PretrainConfig
from speechunits.encoder.flops import transformer_flops
from speechunits.engine.train import Labels
from speechunits.engine.work import Work, shown_work
from speechunits.frames import frame_counts
from speechunits.learners.build import build_learner
from tests.engine.tiny import TinyLearner, run

TIMES = {"data_time": 0.5, "compute_time": 1.5}


def test_rates_are_over_all_the_time_that_steps_take():
    work = Work(batches=2, measure=lambda: 300.0, done=10)
    row = work.row(30.0, 15, TIMES)
    # Five steps of two batches of 30 FLOPs in two seconds.
    assert row == {
        "reading_s": 0.5, "data_wait_share": 0.25, "flops_per_step": 60.0, "flops_per_s": 150.0, "mfu": 0.5,
        "peak_flops_per_s": 300.0,
    }  # fmt: skip
    assert work.row(30.0, 16, TIMES)["flops_per_s"] == 30.0
    assert work.row(0.0, 17, TIMES).keys() == {"reading_s", "data_wait_share"}
    assert work.row(30.0, 18, {})["mfu"] is None


def test_the_most_the_device_ever_did_is_its_peak():
    rates = iter([100.0, 40.0, 120.0, 400.0])
    work = Work(batches=1, measure=lambda: next(rates), done=0)
    assert work.row(100.0, 1, TIMES)["mfu"] == 0.5
    work.measure_peak()  # Something else ran: the earlier measurement stands.
    assert work.row(100.0, 2, TIMES)["peak_flops_per_s"] == 100.0
    # Steps faster than the peak: it is measured again, and where that is less still, they are the peak.
    row = work.row(300.0, 3, TIMES)
    assert (row["mfu"], row["peak_flops_per_s"]) == (1.0, 150.0)
    work.measure_peak()
    assert work.row(300.0, 4, TIMES)["mfu"] == 0.375


def test_a_rank_that_does_not_report_measures_nothing():
    assert Work(batches=1, measure=None, done=0).row(30.0, 1, TIMES)["mfu"] is None


def test_what_is_shown():
    row = {"flops_per_s": 4.2e10, "mfu": 0.123, "padding_share": 0.0123, "data_wait_share": 0.0}
    assert shown_work(row) == ["42 GFLOP/s", "12% MFU", "1.2% padding", "0.0% waiting"]
    assert shown_work({"mfu": None}) == []


@pytest.fixture
def learner():
    encoder = EncoderConfig(channels=8, mel_bins=8, dim=8, layers=1, heads=2, ffn_dim=8, position_groups=2)
    torch.manual_seed(0)
    settings = MaskedPredictionConfig(clusters=3)
    return build_learner(PretrainConfig(learner="masked_prediction", encoder=encoder, masked_prediction=settings))


def test_a_training_writes_and_shows_them(tmp_path, corpus, learner, capfd):
    labels = Labels(units={item.id: np.arange(500) % 3 for item in corpus})
    batches = []
    learner.register_forward_pre_hook(lambda module, args: batches.append(args[0]))
    result = run(learner, tmp_path, corpus, labels=labels, lasting=False, engine={"accumulate": 2})
    rows = [json.loads(line) for line in result.history.read_text().splitlines()]
    first = rows[0]
    steps = batches[: 2 * first["step"]]
    forward = sum(float(transformer_flops(learner.encoder.config, frame_counts(batch.lengths))) for batch in steps)
    assert first["flops_per_step"] == pytest.approx(3 * forward / first["step"])
    samples, real = (
        sum(f(batch) for batch in steps) for f in (lambda b: b.waveforms.numel(), lambda b: b.lengths.sum())
    )
    assert first["padding_share"] == pytest.approx(float(1 - real / samples))
    assert all(
        0 < row["mfu"] <= 1 and row["peak_flops_per_s"] > 0 and 0 <= row["data_wait_share"] <= 1 and "flops" not in row
        for row in rows
    )
    shown = capfd.readouterr().err
    for part in ("GFLOP/s", "% MFU", "% padding", "% waiting"):
        assert part in shown


def test_a_learner_without_an_encoder_has_padding_but_no_flops(tmp_path, corpus):
    result = run(TinyLearner(), tmp_path, corpus, lasting=False)
    row = json.loads(result.history.read_text().splitlines()[-1])
    assert "padding_share" in row
    assert not {"flops", "mfu", "flops_per_s"} & row.keys()
