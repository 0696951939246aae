"""Equal compute: how many more audio-hours a baseline may see for the FLOPs that pretraining took."""

from __future__ import annotations

from pathlib import Path

import torch

from speechunits.asr.baseline import LogMelNetwork
from speechunits.config import EncoderConfig, PretrainConfig, build_config
from speechunits.encoder.encoder import encoder_from_export
from speechunits.encoder.flops import BACKWARD, encoder_flops, frontend_flops, further_flops
from speechunits.errors import UsageError
from speechunits.evaluation.score import Side
from speechunits.frames import FRAME_RATE_HZ
from speechunits.run import read_json
from speechunits.units.bundle import read_bundle

_UTTERANCE_FRAMES = 10 * FRAME_RATE_HZ
"""Attention is counted over rows of ten seconds, a crop of pretraining, on both sides."""


def extra_hours(encoder: Path, record: Path) -> dict[Side, float]:
    """Return the audio-hours each baseline is given on top of its own budget, by pretraining's ``pretrain.json``.

    Raises
    ------
    UsageError
        If the record is missing: a foreign encoder does not say what it took.
    """
    if not record.exists():
        raise UsageError(
            f"the equal-compute row needs what pretraining took, but {record} is missing (a foreign encoder, or an "
            "unfinished pretraining?); leave out reduction.equal_compute_seeds"
        )
    passed = read_json(record)
    config = build_config(PretrainConfig, passed["provenance"]["config"], origin=str(record))
    shape = encoder_from_export(*read_bundle(encoder, kind="encoder")).config
    return equal_hours(config, shape, sum(each["audio_hours"] for each in passed["passes"]))


def equal_hours(config: PretrainConfig, shape: EncoderConfig, audio_hours: float) -> dict[Side, float]:
    """Return the audio-hours that cost each baseline what ``audio_hours`` of pretraining cost.

    Forward and backward passes have the same ratio everywhere, so hours are those of pretraining times the ratio of
    forward FLOPs; what a learner computes for an hour of audio is in :func:`encoder_passes`. In favour of the
    pretrained side, heads and losses are not counted (a few percent of the encoder; for cpc with linear predictors and
    128 negatives a quarter of ``nano``, an eighth of ``medium``), nor the making of targets between passes, nor what an
    encoder to ``start`` from took.
    """
    hours = encoder_passes(config, shape) * audio_hours
    own = encoder_flops(shape, _UTTERANCE_FRAMES)
    return {"untrained": hours, "logmel": hours * own / LogMelNetwork().flops(_UTTERANCE_FRAMES)}


def encoder_passes(config: PretrainConfig, shape: EncoderConfig) -> float:
    """Return how often pretraining takes its audio through the whole encoder, forward and backward.

    A view is a part of its piece; the other one of direct_mi runs the front end only; an online teacher runs forward
    only; cpc's predictors may be blocks like the encoder's.
    """
    whole = encoder_flops(shape, _UTTERANCE_FRAMES)
    if config.needs_views:
        other = frontend_flops(shape, _UTTERANCE_FRAMES) / whole if config.learner == "direct_mi" else 1.0
        return config.views.crop * (1 + other)
    if config.learner == "masked_prediction" and config.units_online:
        return 1 + 1 / (1 + BACKWARD)
    if config.learner == "cpc" and config.cpc.predictor == "transformer":
        return 1 + float(further_flops(shape, config.cpc.steps, torch.tensor([_UTTERANCE_FRAMES]))) / whole
    return 1.0
