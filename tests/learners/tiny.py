"""Tiny learners of every kind, and tones for them to learn."""

import math

import numpy as np
import torch

from speechunits.audio.augment import make_views
from speechunits.audio.batch import AudioBatch, Row, collate
from speechunits.config import PretrainConfig, ViewsConfig, build_config
from speechunits.features.mel import LogMel
from speechunits.frames import frame_count
from speechunits.learners.build import build_learner

TONES = 12
TINY = {"channels": 32, "dim": 32, "heads": 2, "layers": 2, "ffn_dim": 64, "position_groups": 2, "dropout": 0.0}
PAST = TINY | {"causal": True, "input_norm": "running"}
CPC = {"steps": 4, "negatives": 20}
WAV2VEC2 = {"quantizer": {"groups": 2, "entries": 16}, "final_dim": 16, "negatives": 20}
ONLINE = {"targets": "online", "teacher": {"codewords": 16, "layers": 2, "decay_start": 0.9, "decay_end": 0.99}}
VARIANTS = {
    "wav2vec2": {"learner": "wav2vec2", "wav2vec2": WAV2VEC2},
    "wav2vec2-unmasked": {"learner": "wav2vec2", "wav2vec2": WAV2VEC2 | {"unmasked_weight": 1.0}},
    "cpc": {"learner": "cpc", "encoder": PAST, "cpc": CPC},
    "cpc-transformer": {"learner": "cpc", "encoder": PAST,
                        "cpc": CPC | {"predictor": "transformer", "negatives_from": "batch"}},
    "cpc-gru": {"learner": "cpc", "encoder": PAST | {"context": "gru"}, "cpc": CPC | {"negatives_from": "speaker"}},
    "simclr": {"learner": "simclr", "simclr": {"final_dim": 16, "pairs": 100}},
    "simclr-batch": {"learner": "simclr", "simclr": {"final_dim": 16, "negatives_from": "batch"}},
    "swav": {"learner": "swav", "swav": {"final_dim": 16, "prototypes": 16}},
    "swav-queue": {"learner": "swav", "swav": {"final_dim": 16, "prototypes": 16, "queue": 50, "pairs": 60}},
    "direct_mi": {"learner": "direct_mi", "direct_mi": {"symbols": 16}},
    "direct_mi-hard": {"learner": "direct_mi", "direct_mi": {"symbols": 16, "gradient": "straight_through"}},
    "direct_mi-views": {"learner": "direct_mi", "direct_mi": {"symbols": 16, "views": True, "speakers": 4}},
    "direct_mi-shift": {"learner": "direct_mi", "encoder": PAST, "direct_mi": {"symbols": 16, "shift": 5}},
    "direct_mi-unmasked": {"learner": "direct_mi", "direct_mi": {"symbols": 16, "unmasked_weight": 1.0}},
    "masked_prediction": {"learner": "masked_prediction",
                          "masked_prediction": {"clusters": TONES, "final_dim": 16, "unmasked_weight": 1.0}},
    "online": {"learner": "masked_prediction", "masked_prediction": ONLINE},
    "online-unmasked": {"learner": "masked_prediction", "masked_prediction": ONLINE | {"unmasked_weight": 1.0}},
}  # fmt: skip


def build(variant, **changes):
    """Return an untrained tiny learner; ``changes`` are merged into the section of its method."""
    tree = {"encoder": TINY} | VARIANTS[variant]
    section = tree["learner"]
    tree[section] = tree[section] | changes
    torch.manual_seed(0)
    return build_learner(build_config(PretrainConfig, tree))


def batch(*samples, seed=0, data_seed=0):
    """Tones that change every 240 ms, in two views with noise and gaps of their own."""
    generator = np.random.default_rng(data_seed)
    rows = []
    for place, length in enumerate(samples):
        hertz = 200 * 1.3 ** generator.integers(TONES, size=length // 3840 + 1).repeat(3840)[:length]
        tones = 0.1 * np.sin(2 * math.pi * hertz.cumsum() / 16000)
        waveform = (tones + 0.001 * generator.normal(size=length)).astype(np.float32)
        views = make_views(waveform, ViewsConfig(pitch_cents=0.0, speed=0.02, decay_s=0.0), generator)
        # Stretches of a unit: what is said of them is not asked here, only that padding changes nothing.
        units = np.arange(frame_count(len(views.first))) // 12 % TONES
        rows.append(
            Row(
                id=str(place), waveform=views.first, second=views.second, matches=views.matches,
                speaker=f"s{place % 2}", units=units,
            )
        )  # fmt: skip
    return collate(rows, seed=seed)


def padded(item: AudioBatch, samples, value) -> AudioBatch:
    """Return the batch with ``samples`` more of padding, and ``value`` in all of it."""
    waveforms, second = (torch.nn.functional.pad(view, (0, samples)) for view in (item.waveforms, item.second))
    for view, lengths in ((waveforms, item.lengths), (second, item.second_lengths)):
        for row, length in enumerate(lengths):
            view[row, length:] = value
    frames = (waveforms.shape[1] - 400) // 320 + 1 - item.matches.shape[1]
    matches = torch.nn.functional.pad(item.matches, (0, frames), value=-1)
    units = torch.nn.functional.pad(item.units, (0, frames), value=-1)
    return item._replace(waveforms=waveforms, second=second, matches=matches, units=units)


def with_mel(item: AudioBatch, bins=80) -> AudioBatch:
    """Return the batch with the log-mel of its views, zero beyond each row's frames."""

    def found(waveforms, lengths):
        mel, counts = LogMel(bins)(waveforms, lengths)
        return mel * (torch.arange(mel.shape[1]) < counts[:, None])[..., None]

    second = None if item.second is None else found(item.second, item.second_lengths)
    return item._replace(mel=found(item.waveforms, item.lengths), second_mel=second)


def evaluate(learner, *batches):
    """The report of an evaluation, made as the engine makes it."""
    learner.eval()
    with torch.no_grad():
        losses = [learner(item) for item in batches]
    metrics = {
        name: float(sum(loss.metrics[name][0] for loss in losses) / sum(loss.metrics[name][1] for loss in losses))
        for name in losses[0].metrics
    }
    return learner.report(
        metrics, {name: sum(loss.histograms[name] for loss in losses) for name in losses[0].histograms}
    )


def fit(learner, batches, steps, lr=3e-3):
    """Train in place."""
    learner.train()
    optimizer = torch.optim.AdamW(learner.parameter_groups(lr), betas=(0.9, 0.98))
    for step in range(steps):
        learner.set_progress(step, steps)
        loss = learner(batches[step % len(batches)])
        optimizer.zero_grad()
        (loss.sum / loss.count.clamp(min=1)).backward()
        optimizer.step()
    return learner
