"""Configuration: frozen dataclasses, one file a stage, and their loader."""

from speechunits.config.encoder import EncoderConfig, MaskConfig, QuantizerConfig
from speechunits.config.finetune import AugmentConfig, FinetuneConfig
from speechunits.config.loader import build_config, load_config, to_tree
from speechunits.config.pretrain import (
    BatchConfig,
    BudgetConfig,
    EngineConfig,
    MaskedPredictionConfig,
    OptimizerConfig,
    PretrainConfig,
    Wav2Vec2Config,
)
from speechunits.config.recipe import CorpusConfig, RecipeConfig, ReductionConfig, SynthConfig
from speechunits.config.units import PseudotextConfig, UnitsConfig

__all__ = [
    "AugmentConfig",
    "BatchConfig",
    "BudgetConfig",
    "CorpusConfig",
    "EncoderConfig",
    "EngineConfig",
    "FinetuneConfig",
    "MaskConfig",
    "MaskedPredictionConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "PseudotextConfig",
    "QuantizerConfig",
    "RecipeConfig",
    "ReductionConfig",
    "SynthConfig",
    "UnitsConfig",
    "Wav2Vec2Config",
    "build_config",
    "load_config",
    "to_tree",
]
