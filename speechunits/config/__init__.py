"""Configuration: frozen dataclasses, one file a stage, and their loader."""

from speechunits.config.encoder import EncoderConfig, MaskConfig, QuantizerConfig
from speechunits.config.finetune import AugmentConfig, FinetuneConfig, SelfTrainingConfig, TuningConfig
from speechunits.config.learners import (
    CpcConfig,
    DirectMIConfig,
    MaskedPredictionConfig,
    SimclrConfig,
    SwavConfig,
    TeacherConfig,
    Wav2Vec2Config,
)
from speechunits.config.loader import build_config, load_config, to_tree
from speechunits.config.pretrain import BatchConfig, BudgetConfig, EngineConfig, OptimizerConfig, PretrainConfig
from speechunits.config.recipe import FIELDS, CorpusConfig, LanguageConfig, RecipeConfig, ReductionConfig, SynthConfig
from speechunits.config.units import PseudotextConfig, UnitsConfig
from speechunits.config.views import ViewsConfig

__all__ = [
    "FIELDS",
    "AugmentConfig",
    "BatchConfig",
    "BudgetConfig",
    "CorpusConfig",
    "CpcConfig",
    "DirectMIConfig",
    "EncoderConfig",
    "EngineConfig",
    "FinetuneConfig",
    "LanguageConfig",
    "MaskConfig",
    "MaskedPredictionConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "PseudotextConfig",
    "QuantizerConfig",
    "RecipeConfig",
    "ReductionConfig",
    "SelfTrainingConfig",
    "SimclrConfig",
    "SwavConfig",
    "SynthConfig",
    "TeacherConfig",
    "TuningConfig",
    "UnitsConfig",
    "ViewsConfig",
    "Wav2Vec2Config",
    "build_config",
    "load_config",
    "to_tree",
]
