"""The learner that a configuration names."""

from __future__ import annotations

from speechunits.config import PretrainConfig
from speechunits.learners.cpc import CpcLearner
from speechunits.learners.direct_mi import DirectMILearner
from speechunits.learners.masked_prediction import MaskedPredictionLearner
from speechunits.learners.online_prediction import OnlinePredictionLearner
from speechunits.learners.pretrainer import Pretrainer
from speechunits.learners.simclr import SimclrLearner
from speechunits.learners.swav import SwavLearner
from speechunits.learners.wav2vec2 import Wav2Vec2Learner


def build_learner(config: PretrainConfig, *, clusters: int | None = None) -> Pretrainer:
    """Return the untrained learner of a pretraining; its weights come from torch's global generator.

    ``clusters`` is the number of units of the teacher where that is a bundle, in place of the configuration's own.
    """
    learner = _build(config, clusters)
    learner.speech_only = config.speech_only
    return learner


def _build(config: PretrainConfig, clusters: int | None) -> Pretrainer:
    match config.learner:
        case "wav2vec2":
            return Wav2Vec2Learner(config.encoder, config.mask, config.wav2vec2)
        case "cpc":
            return CpcLearner(config.encoder, config.cpc)
        case "simclr":
            return SimclrLearner(config.encoder, config.simclr)
        case "swav":
            return SwavLearner(config.encoder, config.swav)
        case "direct_mi":
            return DirectMILearner(config.encoder, config.mask, config.direct_mi)
        case "masked_prediction" if config.units_online:
            return OnlinePredictionLearner(config.encoder, config.mask, config.masked_prediction)
        case "masked_prediction":
            return MaskedPredictionLearner(config.encoder, config.mask, config.masked_prediction, clusters)
