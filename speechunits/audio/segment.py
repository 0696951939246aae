"""Long recordings cut at pauses, into rows with start and end: every sample of the original is in exactly one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speechunits.audio.load import stream_waveform
from speechunits.audio.manifest import Recording
from speechunits.audio.resample import Samples
from speechunits.errors import InputRefused
from speechunits.frames import FRAME_RATE_HZ, HOP
from speechunits.run import content_key

FloatArray = NDArray[np.float32]

SHORTEST_S, LONGEST_S = 2.0, 15.0
_PAUSE_S = 0.2
"""A shorter quiet stretch may be the closure of a plosive."""
_QUIET_SHARE = 0.3
"""A pause lies below this share of the way from the noise floor to speech, in dB."""
_FLOOR_DB = -100.0


def energies_db(blocks: Iterable[Samples]) -> FloatArray:
    """Return the ``(N,)`` mean power in dB of every 20 ms of a waveform in blocks at 16 kHz, the last part included."""
    powers, rest = [], np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // HOP
        powers.append(np.square(rest[: whole * HOP].reshape(whole, HOP)).mean(axis=1))
        rest = rest[whole * HOP :]
    if len(rest):
        powers.append(np.square(rest).mean(keepdims=True))
    power = np.concatenate([np.zeros(0, np.float32), *powers])
    decibel: FloatArray = (10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))).astype(np.float32)
    return decibel


def cut_points(levels_db: FloatArray, generator: np.random.Generator) -> list[int]:
    """Return where to cut ``(N,)`` levels of 20 ms each: indices that leave parts of 2 to 15 s.

    Each cut is in the middle of the longest pause within reach. Where there is none it is where half a second is
    quietest, and of equally quiet places (digital silence, a steady tone) one drawn from ``generator``.
    """
    shortest, longest = round(SHORTEST_S * FRAME_RATE_HZ), round(LONGEST_S * FRAME_RATE_HZ)
    floor_db, speech_db = np.percentile(levels_db, [10, 95]) if len(levels_db) else (0.0, 0.0)
    quiet = levels_db < floor_db + _QUIET_SHARE * (speech_db - floor_db)
    window = np.ones(FRAME_RATE_HZ // 2) / (FRAME_RATE_HZ // 2)
    smooth = np.convolve(levels_db, window, mode="same") if len(levels_db) >= len(window) else levels_db
    cuts, start = [], 0
    while len(levels_db) - start > longest:
        first, last = start + shortest, min(start + longest, len(levels_db) - shortest)
        cut = _longest_pause(quiet, first, last)
        if cut is None:
            reach = np.round(smooth[first : last + 1], 1)
            cut = first + int(generator.choice(np.flatnonzero(reach == reach.min())))
        cuts.append(cut)
        start = cut
    return cuts


def segmented(
    recordings: Sequence[Recording], seed: int, *, on_progress: Callable[[float, str], None] | None = None
) -> tuple[list[Recording], list[str], list[str]]:
    """Return the recordings with those of more than 15 s cut into rows of 2 to 15 s, refusals, and warnings.

    Rows keep speaker and split; ``start_s`` and ``end_s`` are times in the original, and the parts of a recording meet
    and cover it. A transcript of the whole cannot be told apart: it is left out, and the recording named. The cuts
    depend on ``seed`` and the recording's id, not on the other recordings.
    """
    rows: list[Recording] = []
    refusals: list[str] = []
    notes: list[str] = []
    long = sum(row.duration_s for row in recordings if _is_long(row)) or 1.0
    for recording in recordings:
        if not _is_long(recording):
            rows.append(recording)
            continue
        try:
            levels_db = energies_db(stream_waveform(recording.audio))
        except InputRefused as error:
            refusals.append(str(error))
            continue
        generator = np.random.default_rng([seed, int(content_key(recording.id), 16)])
        edges_s = [0.0, *(cut / FRAME_RATE_HZ for cut in cut_points(levels_db, generator)), recording.duration_s]
        if recording.text is not None:
            notes.append(f"{recording.id}: its transcript is of the whole recording, not of parts; it is left out")
        rows += [part_of(recording, start_s, end_s) for start_s, end_s in itertools.pairwise(edges_s)]
        if on_progress is not None:
            on_progress(recording.duration_s / long, recording.id)
    return rows, refusals, notes


def part_of(recording: Recording, start_s: float, end_s: float, text: str | None = None) -> Recording:
    """Return a part of a recording, named after its times in milliseconds."""
    name = f"{recording.id}-{round(1000 * start_s):07d}-{round(1000 * end_s):07d}"
    return replace(recording, id=name, duration_s=end_s - start_s, start_s=start_s, end_s=end_s, text=text)


def _is_long(recording: Recording) -> bool:
    return recording.start_s is None and recording.end_s is None and recording.duration_s > LONGEST_S


def _longest_pause(quiet: NDArray[np.bool_], first: int, last: int) -> int | None:
    """Return the middle of the longest quiet stretch whose middle is within ``[first, last]``; the first of equals."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet[first : last + 1], [False])).astype(np.int8)))
    starts, ends = edges[::2] + first, edges[1::2] + first
    lengths = ends - starts
    if len(lengths) == 0 or lengths.max() < round(_PAUSE_S * FRAME_RATE_HZ):
        return None
    longest = int(np.argmax(lengths))
    return int(starts[longest] + ends[longest]) // 2
