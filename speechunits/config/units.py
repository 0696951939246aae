"""How units are fitted and made into pseudo-text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechunits.config.loader import LATER
from speechunits.config.ranges import AT_LEAST_0, AT_LEAST_1, LAYER, check_ranges

Criterion = Literal[
    "view_information", "run_predictability", "stability", "combined", "predictability", "view_abx", "speaker"
]


@dataclass(frozen=True, kw_only=True)
class UnitsConfig:
    """Units from k-means on a layer, or from the learner's own codebook."""

    source: Literal["kmeans", "codebook", "mfcc"] = "kmeans"
    """k-means on a layer, the learner's own codebook, or k-means on MFCC: the baseline."""
    clusters: int = 100
    """K; 0 with ``source: codebook`` keeps the product codebook's pairs."""
    layer: Literal["auto"] | int = "auto"
    """-1 is the front end's own output, after its layer norm; 0 the projection of that into the context; k the output
    after k blocks; ``auto`` the best by ``criterion``."""
    sample_frames: int = 200_000
    """Frames k-means is fitted on: a seeded uniform sample of recordings that have four times as many, or of all."""
    iterations: int = 25
    restarts: int = 1
    seed: int = 0
    smooth: int = 3
    """Frames averaged before k-means and assignment (an odd number; 1: none): a phone lasts some four of them.

    A codebook's codes are never averaged."""
    speech_only: bool = True
    """Fit on frames within 40 dB of the loudest of their window: pauses would take many of the units."""
    normalize: bool = False
    """Each feature to mean 0 and variance 1 over the sample, before k-means and assignment."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the encoder; part of what a unit is, so kept in the bundle."""

    seeding: Literal["sample", "k-means++", "pass"] = field(default="sample", metadata=LATER)
    """First centroids: frames drawn uniformly, spread out by k-means++, or fitted by one online pass (fast)."""
    stream_passes: int = field(default=0, metadata=LATER)
    """Passes over every frame of the corpus, by mini-batches, after k-means on the sample; in bounded memory."""
    residual_clusters: int = field(default=0, metadata=LATER)
    """Entries of a second codebook, fitted on what the first leaves over: K times as many units; 0: none."""

    latents: bool = field(default=False, metadata=LATER)
    """Whether ``layer: auto`` also considers -1."""

    criterion: Criterion = field(default="predictability", metadata=LATER)
    """What ``layer: auto`` maximises on held-out speech, without labels: ``view_information`` (bits that units of
    altered speech tell about those of the original), ``run_predictability`` (bits that past runs tell), ``stability``
    (agreement of k-means on two halves), ``combined`` (the mean of these three, standardised over layers),
    ``predictability``, ``view_abx`` or ``speaker``."""

    def __post_init__(self) -> None:
        check_ranges(self, {
            AT_LEAST_0: ("clusters", "stream_passes", "residual_clusters", "seed"),
            AT_LEAST_1: ("sample_frames", "iterations", "restarts"),
            LAYER: ("layer",),
        })  # fmt: skip
        if self.clusters == 1 and self.residual_clusters < 2:
            raise ValueError("clusters must be at least 2 (0: a codebook's own), but is 1: one unit says nothing")
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(f"smooth must be an odd number of frames, at least 1, but is {self.smooth} instead")


@dataclass(frozen=True, kw_only=True)
class PseudotextConfig:
    """A sentencepiece model over units."""

    pieces: int = 500
    """``vocab_size``."""
    model: Literal["unigram", "bpe"] = "unigram"

    def __post_init__(self) -> None:
        check_ranges(self, {AT_LEAST_1: ("pieces",)})
