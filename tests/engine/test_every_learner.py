"""Every method through the engine: healthy trainings run to their end, input that holds nothing stops them."""

import math

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.config import OptimizerConfig, PretrainConfig, ViewsConfig, build_config
from speechunits.engine.train import Labels, train
from speechunits.errors import TrainingStopped
from speechunits.frames import SAMPLE_RATE_HZ, frame_count
from speechunits.learners.build import build_learner
from tests.engine.tiny import settings
from tests.learners.tiny import TINY, TONES, VARIANTS

pytestmark = pytest.mark.slow
METHODS = ["cpc", "wav2vec2-unmasked", "simclr", "swav", "direct_mi-unmasked", "masked_prediction", "online"]
STEPS = {"direct_mi-unmasked": 300, "masked_prediction": 300, "online": 300}
"""Methods that predict symbols are still at chance where the others, after 100 steps, are not."""
SECONDS = 1.6


def tones(folder, count, seed, kinds=TONES):
    """Return recordings of tones that change every 240 ms, and each frame's tone; one kind: one tone throughout."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    samples = int(SECONDS * SAMPLE_RATE_HZ)
    recordings, units = [], {}
    for index in range(count):
        chosen = generator.integers(kinds, size=samples // 3840 + 1).repeat(3840)[:samples]
        phase = 2 * math.pi * (200 * 1.3**chosen).cumsum() / SAMPLE_RATE_HZ
        name = f"{folder.name}{index}"
        soundfile.write(folder / f"{name}.wav", 0.1 * np.sin(phase), SAMPLE_RATE_HZ, subtype="PCM_16")
        recordings.append(Recording(id=name, audio=folder / f"{name}.wav", duration_s=SECONDS))
        units[name] = chosen[200::320][: frame_count(samples)]
    return recordings, units


def run(variant, folder, *, seed, kinds, views, steps):
    tree = {"encoder": TINY} | VARIANTS[variant]
    torch.manual_seed(seed)
    config = build_config(PretrainConfig, tree)
    (heard, units), (held_out, more) = (tones(folder / name, size, seed, kinds) for name, size in (("t", 24), ("h", 8)))
    labels = Labels(units=units | more) if config.needs_units else None
    changes = settings(
        heard, steps=steps, batch={"batch_s": 6.4}, engine={"held_out_evaluations": 10, "checkpoint_steps": None},
        optimizer=OptimizerConfig(lr=3e-3), seed=seed, labels=labels,
    )  # fmt: skip
    return train(
        build_learner(config), folder=folder / "run", train=heard, held_out=held_out,
        views=views if config.needs_views else None, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("variant", METHODS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_healthy_training_is_not_stopped(tmp_path, variant, seed):
    views = ViewsConfig(pitch_cents=0.0, decay_s=0.0, speed=0.02)
    result = run(variant, tmp_path, seed=seed, kinds=TONES, views=views, steps=STEPS.get(variant, 100))
    assert result.steps == result.total_steps
    assert result.stopped is None
    assert result.held_out["bits"] > 0.02 * result.held_out["chance_bits"]


# SimCLR's frames of one tone still differ by their position, and equal positions are its pairs: nothing collapses.
@pytest.mark.parametrize("variant", [method for method in METHODS if method != "simclr"])
def test_one_tone_throughout_stops_it(tmp_path, variant):
    with pytest.raises(TrainingStopped, match="collapsed") as stopped:
        run(variant, tmp_path, seed=0, kinds=1, views=ViewsConfig(probability=0.0, speed=0.0), steps=20)
    assert stopped.value.exit_code == 3
