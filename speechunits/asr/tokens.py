"""Token sets of recognisers: characters, phones, or sentencepiece pieces; built from training texts only."""

from __future__ import annotations

import io
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from speechunits.errors import ModelRefused, UsageError
from speechunits.frames import MAX_WINDOW, SAMPLE_RATE_HZ, frame_count


def normalize(text: str) -> str:
    """Return the text in NFC with runs of white space as one space: what tokens are made of."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def counted(text: str, *, spaced: bool) -> Sequence[str]:
    """Return what errors are counted over: the code points of a text, or, where it is ``spaced``, its phones."""
    return normalize(text).split() if spaced else normalize(text)


class Tokenizer:
    """Text ⇄ token indices; index 0 is the CTC blank and never comes out of a text.

    ``symbols[0]`` is the empty string. With ``model`` (a serialised sentencepiece model whose unknown piece is 0) the
    symbols are its pieces; with ``spaced`` they are what white space parts (phones); else characters (code points in
    NFC).
    """

    def __init__(self, symbols: Sequence[str], model: bytes | None = None, *, spaced: bool = False) -> None:
        self.symbols = ("", *symbols[1:])
        self.model = model
        self.spaced = spaced
        self._indices = {symbol: index for index, symbol in enumerate(self.symbols) if index}
        self._pieces = _load_model(model) if model is not None else None
        # A sentencepiece model writes a space as U+2581 and holds every training character as a piece of its own.
        self._known = frozenset("".join(self.symbols).replace("\u2581", " "))

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def characters(self) -> frozenset[str]:
        """Every character that can come out of tokens."""
        return self._known

    def encode(self, text: str, unseen: Counter[str] | None = None) -> list[int]:
        """Return the tokens of a text; what was not seen in training is dropped, and counted in ``unseen``."""
        parts = self.counted(text)
        known = self._indices.keys() if self.spaced else self._known
        if unseen is not None:
            unseen.update(part for part in parts if part not in known)
        kept = [part for part in parts if part in known]
        if self._pieces is None:
            return [self._indices[part] for part in kept]
        return [int(token) for token in self._pieces.encode("".join(kept)) if token]

    def counted(self, text: str) -> Sequence[str]:
        """Return what errors are counted over: see :func:`counted`."""
        return counted(text, spaced=self.spaced)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, spelt as :func:`normalize` spells transcripts; blanks are skipped."""
        kept = [token for token in tokens if token]
        if self._pieces is None:
            return normalize((" " if self.spaced else "").join(self.symbols[token] for token in kept))
        return normalize(str(self._pieces.decode(kept)))

    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors and the header from which :meth:`restore` makes this tokenizer again."""
        header: dict[str, object] = {"symbols": list(self.symbols), "spaced": self.spaced}
        if self.model is None:
            return {}, header
        return {"tokenizer": torch.frombuffer(bytearray(self.model), dtype=torch.uint8)}, header

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Tokenizer:
        """Make the tokenizer that :meth:`export` described."""
        model = tensors.get("tokenizer")
        stored = bytes(model.cpu().numpy()) if model is not None else None
        return cls(header["symbols"], stored, spaced=header.get("spaced", False))


def build_tokenizer(texts: Iterable[str], kind: str = "characters", pieces: int = 200) -> Tokenizer:
    """Return the token set of training texts: every character or phone they hold, or at most ``pieces`` pieces.

    Raises
    ------
    UsageError
        If the texts are empty: there is nothing to recognise.
    """
    texts = [text for text in map(normalize, texts) if text]
    if not texts:
        raise UsageError("the training texts must hold at least one character, but all are empty; check column text")
    if kind == "characters":
        return Tokenizer(["", *sorted(set("".join(texts)))])
    if kind == "phones":
        return Tokenizer(["", *sorted({phone for text in texts for phone in text.split()})], spaced=True)
    import sentencepiece  # noqa: PLC0415 - only for this kind

    buffer = io.BytesIO()
    characters = len(set("".join(texts).replace(" ", ""))) + 1
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=buffer, vocab_size=max(pieces, characters + 2),
        hard_vocab_limit=False, character_coverage=1.0, normalization_rule_name="identity",
        unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2, num_threads=1,
    )  # fmt: skip
    model = buffer.getvalue()
    loaded = _load_model(model)
    return Tokenizer([str(loaded.id_to_piece(index)) for index in range(len(loaded))], model)


def minimum_frames(tokens: Sequence[int]) -> int:
    """Return the fewest frames in which CTC can spell tokens: equal neighbours need a blank between them."""
    return len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))


class Labelled(Protocol):
    """A recording with its transcript."""

    @property
    def id(self) -> str:
        """Name of the recording."""

    @property
    def duration_s(self) -> float:
        """Seconds."""

    @property
    def text(self) -> str | None:
        """Transcript."""


RecordingT = TypeVar("RecordingT", bound=Labelled)


def transcript(recording: Labelled) -> str:
    """Return the text of a recording as tokens spell it; empty where it has none."""
    return normalize(recording.text or "")


def usable(
    recordings: Iterable[RecordingT], tokenizer: Tokenizer, *, fastest: float = 1.0, longest_s: float = 20.0
) -> tuple[list[RecordingT], list[tuple[RecordingT, str]]]:
    """Part recordings into those CTC can train on and those it cannot, each with the reason.

    Left out: no text, audio longer than ``longest_s`` seconds (a crop would cut its text), text longer than its frames.
    ``fastest`` is the largest factor of speed perturbation, which takes frames away.
    """
    kept: list[RecordingT] = []
    left_out: list[tuple[RecordingT, str]] = []
    for recording in recordings:
        tokens = tokenizer.encode(recording.text or "")
        samples = round(recording.duration_s * SAMPLE_RATE_HZ)
        frames = frame_count(int(samples / fastest))
        needed = minimum_frames(tokens)
        if not tokens:
            left_out.append((recording, "it has no text"))
        elif samples > min(longest_s * SAMPLE_RATE_HZ, MAX_WINDOW):
            left_out.append(
                (recording, f"must be at most {longest_s:g} s, but is {recording.duration_s:.1f} s instead")
            )
        elif needed > frames:
            left_out.append((recording, f"its text needs {needed} frames, but its audio has {frames}"))
        else:
            kept.append(recording)
    return kept, left_out


def _load_model(model: bytes) -> Any:
    import sentencepiece  # noqa: PLC0415 - only where pieces are used

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise ModelRefused("the bundle's sentencepiece model cannot be read; export the recogniser again") from error
    return processor
