"""On two ranks marginals and codebooks are of both batches; SwAV's balance is of each rank's own, as documented."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechunits.learners import online_prediction
from speechunits.objectives.codebook import Codebook, updated_codebook
from speechunits.objectives.direct_mi import updated_marginal
from tests.learners.tiny import batch, build

SCRIPT = Path(__file__).with_name("ranks.py")


def launch(variant):
    root = str(SCRIPT.parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT), variant],
        capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(reports, key=lambda report: report["rank"])


@pytest.mark.slow
def test_marginals_are_those_of_one_process_with_both_batches():
    model = build("direct_mi").train()
    marginal = model.marginal.clone()
    for step in range(2):
        sums = []
        for rank in range(2):
            model.marginal.zero_()
            # With a decay of 0 in mind: what one batch alone would make of the marginal, weighted by its frames.
            loss = model(batch(9000, 7000, data_seed=2 * step + rank))
            sums.append(model.marginal / model.marginal.sum() * int(loss.count))
        marginal = updated_marginal(marginal, sums[0] + sums[1], decay=model.config.decay)
    reports = launch("direct_mi")
    assert reports[0]["shared"] == reports[1]["shared"]
    torch.testing.assert_close(torch.tensor(reports[0]["shared"]), marginal.flatten(), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_codebooks_are_those_of_one_process_with_both_batches(monkeypatch):
    model, found = build("online").train(), []

    def noted(codebook, batch, *, decay):
        found.append(batch)
        return codebook

    monkeypatch.setattr(online_prediction, "updated_codebook", noted)
    for step in range(2):
        found.clear()
        for rank in range(2):
            model(batch(9000, 7000, data_seed=2 * step + rank))
        for place, (first, second) in enumerate(zip(found[: model.groups], found[model.groups :], strict=True)):
            both = Codebook(first.sums + second.sums, first.counts + second.counts)
            before = Codebook(model.sums[place], model.counts[place])
            model.sums[place], model.counts[place] = updated_codebook(
                before, both, decay=model.config.teacher.codebook_decay
            )
    reports = launch("online")
    assert reports[0]["shared"] == reports[1]["shared"]
    expected = torch.cat((model.sums.flatten(), model.counts.flatten()))
    torch.testing.assert_close(torch.tensor(reports[0]["shared"]), expected, rtol=1e-4, atol=1e-5)
    assert reports[0]["loss"] != reports[1]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["swav", "cpc-transformer", "simclr-batch", "wav2vec2"])
def test_balance_negatives_and_diversity_are_per_rank(variant):
    for report in launch(variant):
        model = build(variant).train()
        alone = model(batch(9000, 7000, data_seed=2 + report["rank"]))
        assert report["loss"] == pytest.approx(float(alone.sum.detach()), rel=1e-5)
        assert report["count"] == int(alone.count)
