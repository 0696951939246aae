"""Settings of the pretraining methods, one dataclass each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechunits.config.encoder import QuantizerConfig
from speechunits.config.loader import LATER
from speechunits.config.ranges import ABOVE_0, AT_LEAST_0, AT_LEAST_1, AT_LEAST_2, BELOW_1, LAYER, SHARE, check_ranges


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config:
    """wav2vec 2.0 (Baevski et al. 2020): masked context against quantised latents."""

    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    final_dim: int = 128
    """``final_dim``: both sides are projected to it before the cosine."""
    negatives: int = 100
    """``num_negatives`` K, from masked frames of the same utterance."""
    temperature: float = 0.1
    """``logit_temp`` κ."""
    mask_duplicates: bool = True
    """In training leave out negatives whose codes are the positive's, as the published code does. Kept, they make a
    small vocabulary costly: the loss is the bound itself, which a collapsed codebook leaves at 0."""
    diversity_weight: float = 0.1
    """α of equation 2."""
    feature_penalty: float = 10.0
    """``loss_weights[1]``: weight of the mean squared latent."""
    unmasked_weight: float = 0.0
    """Weight of the same contrast at the frames that are not masked (training only; 0 in the paper): a small network
    leaves the plateau sooner where the context first learns to tell a frame that it sees."""

    def __post_init__(self) -> None:
        weights = ("diversity_weight", "feature_penalty", "unmasked_weight")
        check_ranges(self, {AT_LEAST_1: ("final_dim", "negatives"), ABOVE_0: ("temperature",), AT_LEAST_0: weights})


@dataclass(frozen=True, kw_only=True)
class CpcConfig:
    """Contrastive predictive coding (van den Oord et al. 2018): past context against the latents to come."""

    steps: int = 12
    """K: the latents of the next 1 … K frames are predicted."""
    predictor: Literal["linear", "transformer"] = "linear"
    """For each step a matrix W_k (§2.2), or a causal transformer block."""
    negatives: int = 128
    """Candidates that are not the positive."""
    negatives_from: Literal["utterance", "speaker", "batch"] = "utterance"
    """Whose frames they are; the same for all frames of an utterance."""

    def __post_init__(self) -> None:
        check_ranges(self, {AT_LEAST_1: ("steps", "negatives")})


@dataclass(frozen=True, kw_only=True)
class SimclrConfig:
    """SimCLR (Chen et al. 2020): the same frame in two views against other frames."""

    final_dim: int = 128
    temperature: float = 0.1
    """τ."""
    pairs: int = 1024
    """Pairs of frames a batch at most, drawn at random: memory grows with their square."""
    negatives_from: Literal["utterance", "batch"] = "utterance"
    """With ``batch`` speaker and channel tell frames apart, and become part of what is coded."""

    def __post_init__(self) -> None:
        check_ranges(self, {AT_LEAST_1: ("final_dim", "pairs"), ABOVE_0: ("temperature",)})


@dataclass(frozen=True, kw_only=True)
class SwavConfig:
    """SwAV (Caron et al. 2020): the prototype of one view predicted from the other."""

    final_dim: int = 128
    prototypes: int = 256
    """K."""
    temperature: float = 0.1
    """τ of the predictions."""
    epsilon: float = 0.05
    """ε, smoothness of the assignments."""
    iterations: int = 3
    """Of Sinkhorn and Knopp."""
    frozen: float = 0.05
    """Share of the budget in which prototypes stay as they were drawn."""
    queue: int = 0
    """Frames of earlier batches that take part in the assignments; 0: batches are large enough."""
    pairs: int = 4096
    """Pairs of frames a batch at most, drawn at random."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_1: ("final_dim", "iterations", "pairs"), AT_LEAST_2: ("prototypes",), SHARE: ("frozen",),
            ABOVE_0: ("temperature", "epsilon"), AT_LEAST_0: ("queue",),
        })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DirectMIConfig:
    """Direct mutual information coding (McAllester 2018): a symbol of the target predicted from the context."""

    symbols: int = 100
    """K."""
    gradient: Literal["expectation", "straight_through"] = "expectation"
    """How the target network learns: through p(z|y), or through its most probable symbol."""
    shift: int = 0
    """Frames between context and target, at least 5, with a causal encoder; 0: the context is masked instead."""
    unmasked_weight: float = 0.0
    """Weight of the same loss at the frames that are not masked (training only, not with ``shift``)."""
    decay: float = 0.3
    """Of the moving average behind the marginal; a slow one (0.7) lags behind the networks and lets symbols die."""
    speakers: int = 0
    """Rows of marginals: each speaker has one (two may share); 0: one for all."""
    views: bool = False
    """The target is taken from another view than the context."""
    frozen: float = 0.1
    """Share of the budget in which the target network's perceptron gets no gradient: there is something to predict
    before symbols move towards what is easily predicted. The latents that it hears learn all the while, by the
    context's gradient, so that a frame's symbol may change."""
    sharpness: float = 10.0
    """Factor on the usual first weights of the target network's last layer: how sure p(z|y) is to begin with."""
    hidden_dim: int = 256
    """Of the target network, a perceptron over the latents of a frame."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_1: ("hidden_dim",), AT_LEAST_2: ("symbols",), AT_LEAST_0: ("unmasked_weight", "speakers"),
            BELOW_1: ("decay",), SHARE: ("frozen",), ABOVE_0: ("sharpness",),
        })  # fmt: skip
        if 0 < self.shift < 5 or self.shift < 0:
            raise ValueError(f"shift must be 0 or at least 5 frames, but is {self.shift} instead: neighbours overlap")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Online codebooks over a moving average of the encoder (DinoSR: Liu et al. 2023)."""

    codewords: int = 256
    """V of each codebook."""
    layers: int = 3
    """Top layers of the teacher with a codebook each (8 of 12 in the paper)."""
    codebook_decay: float = 0.9
    """τ of equation 5."""
    decay_start: float = 0.999
    """λ of the teacher's weights at the first step …"""
    decay_end: float = 0.9999
    """… and after ``ramp``."""
    ramp: float = 0.075
    """Share of the budget (30k of 400k steps)."""

    def __post_init__(self) -> None:
        shares = ("codebook_decay", "decay_start", "decay_end", "ramp")
        check_ranges(self, {AT_LEAST_1: ("layers",), AT_LEAST_2: ("codewords",), SHARE: shares})


@dataclass(frozen=True, kw_only=True)
class MaskedPredictionConfig:
    """HuBERT (Hsu et al. 2021): masked context predicts the unit of an earlier pass."""

    targets: Literal["units", "online", "phones"] = "units"
    """Units of an earlier pass, the codewords of a teacher that learns alongside, or the phones of an aligned corpus:
    a synthesiser knows what it says, so synthetic speech is supervision that no speaker had to give."""
    clusters: int = 100
    """K of the k-means whose units are the targets: on MFCC in the first pass, on the encoder itself afterwards."""
    passes: int = 1
    """Passes; each gets an equal part of the budget, its targets from the pass before, its encoder a warm start."""
    target_layer: Literal["auto"] | int = "auto"
    """Layer that gives a later pass its targets."""
    first_targets: Literal["encoder", "mfcc"] = field(default="encoder", metadata=LATER)
    """Where ``pretrain.start`` names an encoder: whether the first pass predicts its units, or those of MFCC, which may
    say more of speech that it has not heard."""
    final_dim: int = 128
    """``final_dim`` of the cosine head."""
    temperature: float = 0.1
    """``logit_temp``."""
    unmasked_weight: float = 0.0
    """``pred_nomask_weight``, with either kind of targets."""
    altered: float = 0.0
    """Share of the rows that are heard through ``views`` (noise, room, timbre, pitch) while the units stay those of the
    original: denoising, as WavLM's (Chen et al. 2022, §III-B). Not with ``targets: online``."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_1: ("passes", "final_dim"), AT_LEAST_2: ("clusters",), ABOVE_0: ("temperature",),
            SHARE: ("altered",), AT_LEAST_0: ("unmasked_weight",), LAYER: ("target_layer",),
        })  # fmt: skip
