"""What all pretraining methods have alike: how a collapse is named, and what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.config import MaskConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.frames import frame_count, frame_counts, frames_mask
from speechunits.learners.learner import Learner
from speechunits.learners.targets import exported, speech_frames
from speechunits.objectives.collapse import find_faults


class Pretrainer(Learner):
    """An encoder with heads, and the settings both were made by."""

    method: ClassVar[str]
    """Its name in recipes, and of its section there."""
    encoder: Encoder
    heads: nn.ModuleDict
    config: object
    """The section of the method."""
    mask: MaskConfig | None = None
    """How spans are masked; None where nothing is."""
    groups: int = 1
    """Codebooks: each uses one entry under collapse."""
    speech_only: bool = False
    """Whether silent frames are neither targets nor negatives."""

    def counted(self, batch: AudioBatch) -> Tensor:
        """Return ``(B, S)``, true at the frames that the loss may speak of: the real ones, or those with speech."""
        if self.speech_only:
            return speech_frames(batch)
        return frames_mask(frame_counts(batch.lengths), frame_count(batch.waveforms.shape[1]))

    def collapse(self, report: Mapping[str, float]) -> dict[str, str]:
        """Return the signs of a collapse that a held-out report shows, by kind, each in words."""
        return find_faults(report, self.groups)

    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors ``encoder.*``, ``heads.*`` and the header that rebuilds them."""
        header: dict[str, object] = {
            "kind": "encoder",
            "learner": self.method,
            "encoder": to_tree(self.encoder.config),
            **({} if self.mask is None else {"mask": to_tree(self.mask)}),
            self.method: to_tree(self.config),
            **({"speech_only": True} if self.speech_only else {}),
        }
        return exported(encoder=self.encoder, heads=self.heads), header
