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
from speechunits.asr.words import TimedToken, TimedWord, timed_words
from speechunits.audio.resample import Samples
from speechunits.frames import SAMPLE_RATE_HZ, Window, canonical_windows, frame_count, frame_edges_s
from speechunits.objectives.ctc import BLANK
from speechunits.units.extract import check_wanted

Precision = Literal["fp32", "bf16"]
Labels = npt.NDArray[np.int64]
Posteriors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What was recognised in one recording."""

    id: str
    duration_s: float
    text: str
    tokens: tuple[TimedToken, ...]
    words: tuple[TimedWord, ...]
    confidence: float | None
    """Mean of its tokens'; None where there are none, or where no posteriors were given."""
    all_blank: bool
    """No frame was anything but blank: the recogniser has learnt too little, or there is nothing to hear."""

    def to_json(self) -> str:
        """Return one line of JSON: id, duration_s, text, tokens and words with times and confidence, all_blank."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def make_hypothesis(
    recognizer: Recognizer, name: str, samples: int, labels: Labels, log_posteriors: Posteriors | None = None
) -> Hypothesis:
    """Return the hypothesis that a path of ``(S,)`` frame labels of a recording of ``samples`` samples spells.

    With ``(S, V)`` ``log_posteriors`` a token's confidence is the mean posterior of its symbol over its frames.
    """
    tokenizer = recognizer.tokenizer
    duration_s = samples / SAMPLE_RATE_HZ
    path = labels.tolist()
    tokens = []
    for spike in spikes(path):
        start_s, end_s = frame_edges_s(spike.first, spike.last, total=len(path), duration_s=duration_s)
        sure = None
        if log_posteriors is not None:
            sure = float(np.exp(log_posteriors[spike.first : spike.last + 1, spike.token]).mean())
        symbol = tokenizer.symbols[spike.token]
        tokens.append(TimedToken(token=symbol, start_s=start_s, end_s=end_s, confidence=sure))
    known = [token.confidence for token in tokens if token.confidence is not None]
    return Hypothesis(
        id=name,
        duration_s=duration_s,
        text=tokenizer.decode(collapse(path)),
        tokens=tuple(tokens),
        words=tuple(timed_words(tokens, marked=tokenizer.model is not None, spaced=tokenizer.spaced)),
        confidence=sum(known) / len(known) if known else None,
        all_blank=bool((labels == BLANK).all()),
    )


def best_labels(log_posteriors: Posteriors) -> Labels:
    """Return the ``(S,)`` path of the best symbol of each frame."""
    labels: Labels = log_posteriors.argmax(axis=-1)
    return labels


def frame_posteriors(
    recognizer: Recognizer, waveforms: Sequence[Samples], *, batch_s: float = 160.0, precision: Precision = "fp32"
) -> list[Posteriors]:
    """Return the ln posteriors of all symbols, ``(S, V)`` for every ``(T,)`` waveform at 16 kHz.

    A batch holds windows of one padded length, at most ``batch_s`` seconds of them; a long recording's frames come from
    the windows that own them. The recogniser is left in the mode it was found in.
    """
    size = len(recognizer.tokenizer)
    found = [np.zeros((frame_count(len(waveform)), size), dtype=np.float32) for waveform in waveforms]
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
                check_wanted()
                batch = same[first : first + rows]
                heard = _heard(recognizer, [waveforms[i][w.start : w.stop] for i, w in batch], padded, precision)
                for row, (index, window) in zip(heard, batch, strict=True):
                    owned = row[window.skip : window.skip + window.count]
                    found[index][window.first : window.first + window.count] = owned
    finally:
        recognizer.train(training)
    return found


@torch.inference_mode()
def _heard(recognizer: Recognizer, pieces: Sequence[Samples], padded: int, precision: Precision) -> Posteriors:
    device = next(recognizer.parameters()).device
    waveforms = torch.zeros(len(pieces), padded)
    for row, piece in enumerate(pieces):
        waveforms[row, : len(piece)] = torch.from_numpy(piece)
    lengths = torch.tensor([len(piece) for piece in pieces])
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = recognizer.logits(waveforms.to(device), lengths.to(device))[0]
    heard: Posteriors = logits.float().log_softmax(dim=-1).cpu().numpy()
    return heard


def _padded(item: tuple[int, Window]) -> int:
    return item[1].padded
