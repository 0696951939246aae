"""Log-mel computed by the reader: the same weights as without, whatever is made of audio and wherever it is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import build_tokenizer
from speechunits.config import FinetuneConfig, ViewsConfig
from speechunits.engine.train import Labels
from speechunits.features.cache import LogMelCache
from speechunits.features.mel import LogMel
from tests.engine.tiny import run, same, weights
from tests.learners.tiny import TINY, VARIANTS, build

VIEWS = ViewsConfig(pitch_cents=0.0)


def trained(folder, learner, corpus, held_out, *, ahead, batch=None, **changes):
    """Return the weights of a training, and whether its batches brought their log-mel."""
    brought = []
    learner.register_forward_pre_hook(
        lambda module, args: brought.append((args[0].mel is not None, args[0].second_mel is not None))
    )
    settings = {"features_ahead": ahead, **(batch or {})}
    result = run(learner, folder, corpus, held_out, batch=settings, lasting=False, **changes)
    return weights(learner), result.held_out, brought


@pytest.mark.parametrize("variant", ["masked_prediction", "direct_mi-views", "online"])
def test_it_changes_no_weight_and_no_report(tmp_path, corpus, held_out, variant):
    units = {item.id: np.arange(200) % 3 for item in [*corpus, *held_out]}
    changes = {"labels": Labels(units=units)} if variant == "masked_prediction" else {}
    views = variant == "direct_mi-views"
    if views:
        changes["views"] = VIEWS
    plain, report, brought = trained(tmp_path / "a", build(variant), corpus, held_out, ahead="none", **changes)
    assert set(brought) == {(False, False)}
    ahead, other, brought = trained(tmp_path / "b", build(variant), corpus, held_out, ahead="all", **changes)
    assert set(brought) == {(True, views)}
    assert same(ahead, plain)
    assert other == report


def test_what_cannot_be_kept_is_left_to_the_model(tmp_path, corpus, held_out, monkeypatch):
    """Two views of everything, more than memory holds, most rows altered: in each case the weights are the same."""
    _, _, brought = trained(tmp_path / "a", build("simclr"), corpus, held_out, ahead="kept", views=VIEWS)
    assert set(brought) == {(False, False)}
    batch = {"cache_mb": 0}
    _, _, brought = trained(tmp_path / "b", build("wav2vec2"), corpus, held_out, ahead="kept", batch=batch)
    assert set(brought) == {(False, False)}
    monkeypatch.setattr("speechunits.audio.cache._WHOLE_S", 1.5)  # Some of the corpus are longer.
    plain, *_ = trained(tmp_path / "c", build("wav2vec2"), corpus, held_out, ahead="none")
    mixed, _, brought = trained(tmp_path / "d", build("wav2vec2"), corpus, held_out, ahead="kept")
    assert set(brought) == {(False, False), (True, False)}
    assert same(mixed, plain)


def test_altered_recordings_have_log_mel_of_their_own(tmp_path, corpus, held_out):
    changes = {"views": VIEWS, "altered": 0.5}
    plain, *_ = trained(tmp_path / "a", build("wav2vec2"), corpus, held_out, ahead="none", **changes)
    ahead, *_ = trained(tmp_path / "b", build("wav2vec2"), corpus, held_out, ahead="all", **changes)
    assert same(ahead, plain)


@pytest.mark.parametrize("side", ["logmel", "untrained"])
def test_recognisers_at_three_speeds(tmp_path, corpus, side):
    tokenizer = build_tokenizer(["ab"], "characters", 10)
    labels = Labels(tokens={item.id: np.array([1, 2]) for item in corpus})
    encoder = build("masked_prediction").encoder.config
    config = FinetuneConfig(side=side, encoder=encoder, frozen=0.0)
    found = [
        trained(tmp_path / str(ahead), build_recognizer(config, tokenizer), corpus, (), ahead=ahead, labels=labels,
                speed=(0.9, 1.0, 1.1), steps=6)
        for ahead in ("none", "kept")
    ]  # fmt: skip
    assert [set(brought) for *_, brought in found] == [{(False, False)}, {(True, False)}]
    assert same(found[0][0], found[1][0])


def test_what_is_kept_is_bounded_and_computed_once(tmp_path, corpus, monkeypatch):
    kept = []
    original = LogMelCache.read

    def read(self, *arguments):
        found = original(self, *arguments)
        kept.append((self._audio.kept_bytes, self.kept_bytes))
        return found

    monkeypatch.setattr(LogMelCache, "read", read)
    computed = []
    forward = LogMel.forward
    monkeypatch.setattr(LogMel, "forward", lambda self, *arguments: computed.append(0) or forward(self, *arguments))
    trained(tmp_path / "a", build("wav2vec2"), corpus, (), ahead="all", steps=20)
    # Those of the reader's threads alone, and once for its key; two threads may compute the same one.
    assert len(corpus) + 1 <= len(computed) <= 2 * len(corpus) + 1
    assert kept[-1][1] > 0
    del kept[:]
    trained(tmp_path / "b", build("wav2vec2"), corpus, (), ahead="all", steps=20, batch={"cache_mb": 1})
    assert max(audio + mel for audio, mel in kept) <= 1_000_000


def test_on_disk_it_is_shared_with_the_next_training(tmp_path, corpus, monkeypatch):
    kept = {"cache_dir": tmp_path / "cache", "cache_mb": 0}
    plain, *_ = trained(tmp_path / "a", build("wav2vec2"), corpus, (), ahead="none")
    first, *_ = trained(tmp_path / "b", build("wav2vec2"), corpus, (), ahead="all", batch=kept)
    made = {path.name for path in (tmp_path / "cache").glob("*.mel")}
    assert len(made) == len(corpus)
    computed = []
    forward = LogMel.forward
    monkeypatch.setattr(LogMel, "forward", lambda self, *arguments: computed.append(0) or forward(self, *arguments))
    second, *_ = trained(tmp_path / "c", build("wav2vec2"), corpus, (), ahead="all", batch=kept)
    assert len(computed) == 1  # for the key
    assert same(first, plain)
    assert same(second, plain)


def test_a_training_goes_on_with_features_elsewhere(tmp_path, corpus):
    run(build("wav2vec2"), tmp_path, corpus, steps=4)
    result = run(build("wav2vec2"), tmp_path, corpus, steps=4, batch={"features_ahead": "none"})
    assert result.resumed_from == 4


def test_a_front_end_over_samples_gets_none(tmp_path, corpus, monkeypatch):
    monkeypatch.setitem(VARIANTS["wav2vec2"], "encoder", TINY | {"frontend": "waveform"})
    _, _, brought = trained(tmp_path, build("wav2vec2"), corpus[:3], (), ahead="all", steps=2)
    assert set(brought) == {(False, False)}


def test_a_gpu_computes_its_own(tmp_path, corpus):
    from types import SimpleNamespace

    from speechunits.engine.native import prepare_fairseq2

    prepare_fairseq2()
    from speechunits.config import BatchConfig
    from speechunits.engine.assembly import _mel_bins_ahead

    learner, task = build("wav2vec2"), SimpleNamespace(batch=BatchConfig())
    for device, bins in (("cpu", 80), ("cuda", None)):
        assert _mel_bins_ahead(learner, task, SimpleNamespace(device=torch.device(device))) == bins
    task.batch = replace(task.batch, features_ahead="none")
    assert _mel_bins_ahead(learner, task, SimpleNamespace(device=torch.device("cpu"))) is None
