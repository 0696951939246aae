"""The learner that a configuration names."""

from __future__ import annotations

from speechunits.config import PretrainConfig
from speechunits.learners.learner import Learner
from speechunits.learners.masked_prediction import MaskedPredictionLearner
from speechunits.learners.wav2vec2 import Wav2Vec2Learner


def build_learner(config: PretrainConfig, *, clusters: int | None = None) -> Learner:
    """Return the untrained learner of a pretraining; its weights come from torch's global generator.

    ``clusters`` is the number of units of the teacher where that is a bundle, in place of the configuration's own.
    """
    if config.learner == "wav2vec2":
        return Wav2Vec2Learner(config.encoder, config.mask, config.wav2vec2)
    return MaskedPredictionLearner(config.encoder, config.mask, config.masked_prediction, clusters)
