"""The engine gives a learner two views of its audio, the same again after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechunits.audio.batch import AudioBatch
from speechunits.config import BatchConfig, ViewsConfig
from speechunits.engine.train import train
from speechunits.frames import frame_count
from tests.engine.tiny import make_corpus, same, settings, weights
from tests.learners.tiny import build

VIEWS = ViewsConfig(pitch_cents=0.0)


@pytest.mark.parametrize("variant", ["simclr", "swav-queue"])
def test_training_on_two_views_resumes_bit_for_bit(tmp_path, variant):
    corpus, held_out = make_corpus(tmp_path / "a", 6), make_corpus(tmp_path / "b", 2, seed=1, prefix="h")
    common = {"train": corpus, "held_out": held_out, "views": VIEWS}
    whole = build(variant)
    result = train(whole, folder=tmp_path / "whole", **common, **settings(corpus, steps=8))
    assert result.steps == 8
    assert torch.tensor([result.held_out["bits"], result.held_out["chance_bits"]]).isfinite().all()

    broken = build(variant)
    forward, calls = broken.forward, []

    def fail_late(batch):
        calls.append(batch)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return forward(batch)

    broken.forward = fail_late
    with pytest.raises(KeyboardInterrupt):
        train(broken, folder=tmp_path / "broken", **common, **settings(corpus, steps=8))
    resumed = build(variant)
    assert train(resumed, folder=tmp_path / "broken", **common, **settings(corpus, steps=8)).resumed_from == 4
    assert same(weights(resumed), weights(whole))


def test_views_are_a_function_of_the_seed_of_their_batch(tmp_path):
    from speechunits.engine.native import prepare_fairseq2

    prepare_fairseq2()
    from speechunits.audio.sampler import consecutive_batches
    from speechunits.engine.reader import Loader

    corpus = make_corpus(tmp_path / "a", 3)
    (planned, *_) = consecutive_batches([16000] * 3, BatchConfig(batch_s=4.0, min_s=0.3), crop=True)
    loader = Loader(corpus, None, 10, set(), VIEWS)
    first, again, other = (loader.batch(planned, seed) for seed in (1, 1, 2))
    assert isinstance(first, AudioBatch)
    assert torch.equal(first.second, again.second)
    assert torch.equal(first.matches, again.matches)
    assert first.second.shape != other.second.shape or not torch.equal(first.second, other.second)
    assert (first.matches >= 0).any()
    assert Loader(corpus, None, 10, set()).batch(planned, 1).second is None


def test_altered_rows_keep_their_frames_and_units(tmp_path):
    from speechunits.engine.native import prepare_fairseq2

    prepare_fairseq2()
    from speechunits.audio.sampler import consecutive_batches
    from speechunits.engine.reader import Loader
    from speechunits.engine.train import Labels

    corpus = make_corpus(tmp_path / "a", 8)
    labels = Labels(units={row.id: np.arange(frame_count(round(row.duration_s * 16000))) for row in corpus})
    (planned, *_) = consecutive_batches([16000] * 8, BatchConfig(batch_s=16.0, min_s=0.3), crop=True)
    plain = Loader(corpus, labels, 10, set()).batch(planned, 1)
    some, again = (Loader(corpus, labels, 10, set(), VIEWS, 0.5).batch(planned, 1) for _ in range(2))
    every = Loader(corpus, labels, 10, set(), replace(VIEWS, probability=1.0), 1.0).batch(planned, 1)
    assert torch.equal(some.waveforms, again.waveforms)
    changed = (some.waveforms != plain.waveforms).any(dim=1)
    assert changed.any()
    assert not changed.all()
    assert (every.waveforms != plain.waveforms).any(dim=1).all()
    for batch in (some, every):
        assert batch.second is None
        assert torch.equal(batch.lengths, plain.lengths)
        assert torch.equal(batch.units, plain.units)
