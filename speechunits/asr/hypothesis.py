"""Waveforms into hypotheses, each frame computed in the canonical window that owns it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechunits.asr.greedy import collapse, spikes
from speechunits.asr.recognizer import Recognizer
from speechunits.audio.load import Samples
from speechunits.frames import SAMPLE_RATE_HZ, Window, canonical_windows, frame_count, frame_edges_s
from speechunits.objectives.ctc import BLANK

Precision = Literal["fp32", "bf16"]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TimedToken:
    """A token and when its frames were."""

    token: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What was recognised in one recording."""

    id: str
    duration_s: float
    text: str
    tokens: tuple[TimedToken, ...]
    all_blank: bool
    """No frame was anything but blank: the recogniser has learnt too little, or there is nothing to hear."""

    def to_json(self) -> str:
        """Return one line of JSON: id, duration_s, text, tokens with their times, all_blank."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def make_hypothesis(recognizer: Recognizer, name: str, samples: int, labels: Labels) -> Hypothesis:
    """Return the greedy hypothesis of a path of ``(S,)`` frame labels of a recording of ``samples`` samples."""
    tokenizer = recognizer.tokenizer
    duration_s = samples / SAMPLE_RATE_HZ
    path = labels.tolist()
    tokens = []
    for spike in spikes(path):
        start_s, end_s = frame_edges_s(spike.first, spike.last, total=len(path), duration_s=duration_s)
        tokens.append(TimedToken(token=tokenizer.symbols[spike.token], start_s=start_s, end_s=end_s))
    return Hypothesis(
        id=name,
        duration_s=duration_s,
        text=tokenizer.decode(collapse(path)),
        tokens=tuple(tokens),
        all_blank=bool((labels == BLANK).all()),
    )


def frame_labels(
    recognizer: Recognizer, waveforms: Sequence[Samples], *, batch_s: float = 160.0, precision: Precision = "fp32"
) -> list[Labels]:
    """Return the best symbol of each frame, ``(S,)`` for every ``(T,)`` waveform at 16 kHz.

    A batch holds windows of one padded length, at most ``batch_s`` seconds of them. The recogniser is left in the mode
    it was found in.
    """
    labels = [np.zeros(frame_count(len(waveform)), dtype=np.int64) for waveform in waveforms]
    windows = sorted(
        ((index, window) for index, waveform in enumerate(waveforms) for window in canonical_windows(len(waveform))),
        key=_padded,
    )
    training = recognizer.training
    recognizer.eval()
    try:
        for padded, group in itertools.groupby(windows, key=_padded):
            same = list(group)
            rows = max(1, int(batch_s * SAMPLE_RATE_HZ / padded))
            for first in range(0, len(same), rows):
                batch = same[first : first + rows]
                best = _best(recognizer, [waveforms[i][w.start : w.stop] for i, w in batch], padded, precision)
                for row, (index, window) in zip(best, batch, strict=True):
                    owned = row[window.skip : window.skip + window.count]
                    labels[index][window.first : window.first + window.count] = owned
    finally:
        recognizer.train(training)
    return labels


@torch.inference_mode()
def _best(recognizer: Recognizer, pieces: Sequence[Samples], padded: int, precision: Precision) -> Labels:
    device = next(recognizer.parameters()).device
    waveforms = torch.zeros(len(pieces), padded)
    for row, piece in enumerate(pieces):
        waveforms[row, : len(piece)] = torch.from_numpy(piece)
    lengths = torch.tensor([len(piece) for piece in pieces])
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = recognizer.logits(waveforms.to(device), lengths.to(device))[0]
    best: Labels = logits.float().argmax(dim=-1).cpu().numpy()
    return best


def _padded(item: tuple[int, Window]) -> int:
    return item[1].padded
