"""Equal compute: how many more audio-hours a baseline may see for the FLOPs that pretraining took."""

from __future__ import annotations

from pathlib import Path

from speechunits.asr.baseline import LogMelNetwork
from speechunits.encoder.encoder import encoder_from_export
from speechunits.encoder.flops import encoder_flops
from speechunits.errors import UsageError
from speechunits.evaluation.score import Side
from speechunits.frames import FRAME_RATE_HZ
from speechunits.run import read_json
from speechunits.units.bundle import read_bundle

_UTTERANCE_FRAMES = 10 * FRAME_RATE_HZ
"""Attention is counted over rows of ten seconds, a crop of pretraining, on both sides."""
_TWO_VIEWS = ("simclr", "swav")


def extra_hours(encoder: Path, record: Path) -> dict[Side, float]:
    """Return the audio-hours each baseline is given on top of its own budget.

    Forward and backward passes have the same ratio everywhere, so hours are those of pretraining times the ratio of
    forward FLOPs. ``record`` is pretraining's ``pretrain.json``; a learner of two views encodes every hour twice. Heads
    and targets of pretraining are not counted, which is in favour of the pretrained side by a few percent.

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
    config = passed["provenance"]["config"]
    both = config["learner"] in _TWO_VIEWS or (config["learner"] == "direct_mi" and config["direct_mi"]["views"])
    hours = (2 if both else 1) * sum(each["audio_hours"] for each in passed["passes"])
    own = encoder_flops(encoder_from_export(*read_bundle(encoder, kind="encoder")).config, _UTTERANCE_FRAMES)
    return {"untrained": hours, "logmel": hours * own / LogMelNetwork().flops(_UTTERANCE_FRAMES)}
