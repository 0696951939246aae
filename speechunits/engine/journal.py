"""What a training remembers besides weights: it travels in every checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from speechunits.learners.learner import Memory


@dataclass(kw_only=True)
class Journal:
    """Counts and times over all parts of a training."""

    steps: int = 0
    audio_s: float = 0.0
    """Seconds of source audio seen, over all ranks."""
    skipped_batches: int = 0
    refused: set[str] = field(default_factory=set)
    """Ids of recordings that could not be read, or of which a piece could not."""
    held_out: dict[str, float] = field(default_factory=dict)
    held_out_step: int = 0
    collapsing: dict[str, int] = field(default_factory=dict)
    """Held-out evaluations in a row that showed a fault, by its kind."""
    earlier_s: float = 0.0
    """Wall clock of the parts before this one."""
    memories: dict[str, Memory] = field(default_factory=dict)
    """What travels with the journal, by name."""
    collapse: str | None = None
    stopped: str | None = None
    signal_number: int | None = None
    """A signal that this rank received; the others may not know yet."""
    stopping: bool = False
    """All ranks have agreed to stop for a signal, be it after the last step."""
    interrupted: bool = False
    """All ranks have agreed to stop for a signal before the last step."""
    _started: float = field(default_factory=time.monotonic)

    @property
    def wall_s(self) -> float:
        """Wall clock of all parts."""
        return self.earlier_s + time.monotonic() - self._started

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: plain types, and what the memories add."""
        return {
            "steps": self.steps,
            "audio_s": self.audio_s,
            "skipped_batches": self.skipped_batches,
            "refused": sorted(self.refused),
            "held_out": dict(self.held_out),
            "held_out_step": self.held_out_step,
            "collapsing": self.collapsing,
            "wall_s": self.wall_s,
            "memories": {name: memory.state() for name, memory in self.memories.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`; a held-out evaluation made since then stays."""
        self.steps = state["steps"]
        self.audio_s = state["audio_s"]
        self.skipped_batches = state["skipped_batches"]
        self.refused.clear()  # in place: the loader adds to this very set
        self.refused.update(state["refused"])
        if state["held_out_step"] >= self.held_out_step:
            self.held_out = dict(state["held_out"])
            self.held_out_step = state["held_out_step"]
            kept = state["collapsing"]
            self.collapsing = dict(kept) if isinstance(kept, dict) else {}  # a number, in those of earlier versions
        for name, memory in state.get("memories", {}).items():  # none in checkpoints of earlier versions
            self.memories[name].restore(memory)
        self.earlier_s = state["wall_s"]
        self._started = time.monotonic()
