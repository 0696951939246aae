"""Samples, frames and seconds; canonical windows. The only home of 16000, 400 and 320.

Every front end yields ``S = 0`` frames for ``n < 400`` samples and ``(n - 400) // 320 + 1`` otherwise (50 Hz).
A unit is a function of its canonical window, never of the batch: a recording of at most 20 s is one window, a longer
one is cut into 16 s cores with 2 s of context on each side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
RECEPTIVE_FIELD = 400
"""Samples one frame sees."""
HOP = 320
"""Samples between two frames."""
FRAME_RATE_HZ = SAMPLE_RATE_HZ // HOP

MAX_WINDOW = 20 * SAMPLE_RATE_HZ
"""Samples of the longest recording that is one window; also the longest training crop."""
CORE_FRAMES = 800
"""Frames a window of a long recording owns (16 s)."""
CONTEXT_FRAMES = 100
"""Frames of context on either side of the core (2 s)."""
_TAIL = RECEPTIVE_FIELD - HOP
"""Samples the last frame of a window needs beyond its hop grid."""

PADDED_LENGTHS = tuple(seconds * SAMPLE_RATE_HZ + _TAIL for seconds in range(1, MAX_WINDOW // SAMPLE_RATE_HZ + 1))
"""Samples to which a window is padded, whole seconds: few shapes, so that equal windows meet equal arithmetic."""


def frame_count(samples: int) -> int:
    """Return the number of frames of a recording of ``samples`` samples."""
    return 0 if samples < RECEPTIVE_FIELD else (samples - RECEPTIVE_FIELD) // HOP + 1


def frame_counts(lengths: Tensor) -> Tensor:
    """Return the number of frames for each of the ``(B,)`` lengths in samples."""
    return torch.where(lengths < RECEPTIVE_FIELD, 0, (lengths - RECEPTIVE_FIELD) // HOP + 1)


def frame_center_s(frame: int) -> float:
    """Return the time of the centre of a frame in seconds."""
    return (HOP * frame + RECEPTIVE_FIELD / 2) / SAMPLE_RATE_HZ


def frames_between(start_s: float, end_s: float, total: int) -> tuple[int, int]:
    """Return the first frame whose centre lies within [start, end] and the one after the last, of ``total`` frames."""
    start, end = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
    first = max(0, -((RECEPTIVE_FIELD // 2 - start) // HOP))
    return first, min((end - RECEPTIVE_FIELD // 2) // HOP + 1, total)


def frame_edges_s(first: int, last: int, *, total: int, duration_s: float) -> tuple[float, float]:
    """Return start and end in seconds of the run of frames ``first..last`` (both included) of ``total`` frames.

    A frame covers its centre ± half a hop; the first frame of a recording reaches back to 0, the last one to its end.
    """
    half_hop_s = HOP / 2 / SAMPLE_RATE_HZ
    start_s = 0.0 if first == 0 else frame_center_s(first) - half_hop_s
    end_s = duration_s if last == total - 1 else frame_center_s(last) + half_hop_s
    return start_s, end_s


def matching_frames(
    count: int, other_count: int, *, start: int = 0, other_start: int = 0, speed: float = 1.0, other_speed: float = 1.0
) -> Tensor:
    """Return ``(count,)`` int64: for each frame of a view, the frame of another view of the same recording, or -1.

    A view begins at sample ``start`` of the recording and plays ``speed`` times as fast, so that its frame i is centred
    on sample start + speed (320 i + 200). Two frames match where the centres are nearest to each other; each frame is
    in one pair at most.
    """
    centers = HOP * torch.arange(count, dtype=torch.float64) + RECEPTIVE_FIELD / 2
    samples = (start + speed * centers - other_start) / other_speed
    frames = torch.round((samples - RECEPTIVE_FIELD / 2) / HOP).long()
    repeated = torch.zeros(count, dtype=torch.bool)
    repeated[1:] = frames[1:] == frames[:-1]
    return frames.masked_fill((frames < 0) | (frames >= other_count) | repeated, -1)


def frames_mask(frame_lengths: Tensor, size: int) -> Tensor:
    """Return a ``(B, size)`` boolean mask, true on real frames, for ``(B,)`` frame counts."""
    return torch.arange(size, device=frame_lengths.device)[None, :] < frame_lengths[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A canonical window: which samples it reads, which of its frames it owns.

    ``start`` and ``stop`` are samples of the recording; the window owns ``count`` frames, the first of which is frame
    ``first`` of the recording and frame ``skip`` of the window.
    """

    start: int
    stop: int
    first: int
    skip: int
    count: int

    @property
    def padded(self) -> int:
        """Samples to which this window is padded."""
        return padded_length(self.stop - self.start)


def canonical_windows(samples: int, *, causal: bool = False) -> list[Window]:
    """Return the canonical windows of a recording of ``samples`` samples; none if it has no frame.

    ``causal``: of a causal encoder. Recordings of up to 20 s are then cut like longer ones, at multiples of 16 s, since
    whoever listens while a recording goes on cannot know at second 16 whether it will last for more than 20.
    """
    total = frame_count(samples)
    if total == 0:
        return []
    if samples <= MAX_WINDOW and not causal:
        return [Window(start=0, stop=samples, first=0, skip=0, count=total)]
    return [window_from(first, samples) for first in range(0, total, CORE_FRAMES)]


def window_from(first: int, samples: int) -> Window:
    """Return the window that owns frames from ``first`` on in a recording that is cut into several."""
    start = window_start(first)
    count = min(CORE_FRAMES, frame_count(samples) - first)
    stop = min(samples, window_stop(first))
    return Window(start=start, stop=stop, first=first, skip=first - start // HOP, count=count)


def window_start(first: int) -> int:
    """Return the sample that the window that owns frames from ``first`` on begins with."""
    return max(0, (first - CONTEXT_FRAMES) * HOP)


def window_stop(first: int) -> int:
    """Return where the window that owns frames from ``first`` on stops reading, in a recording that is longer."""
    return (first + CORE_FRAMES + CONTEXT_FRAMES) * HOP + _TAIL


def padded_length(samples: int) -> int:
    """Return the smallest canonical padded length that holds ``samples`` samples.

    Raises
    ------
    ValueError
        If ``samples`` is longer than any canonical window.
    """
    for length in PADDED_LENGTHS:
        if samples <= length:
            return length
    raise ValueError(f"a window must be at most {PADDED_LENGTHS[-1]} samples, but is {samples} instead")
