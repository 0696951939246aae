"""What was recognised as text, JSON, CTM, TextGrid and SubRip subtitles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from speechunits.asr.hypothesis import Hypothesis
from speechunits.asr.words import TimedWord
from speechunits.errors import InputRefused, UsageError
from speechunits.units.ctm import escaped
from speechunits.units.textgrid import tier_lines, with_tiers
from speechunits.units.transcript import Span, seconds_text

_LONGEST_LINE = 84
"""Characters of a subtitle: two lines of 42."""
_LONGEST_CUE_S = 7.0
_PAUSE_S = 1.0
"""A longer pause between words ends a subtitle."""
_TOUCHING_S = 1e-6
"""Frames meet where neither of two sums of seconds is exact: no interval lies between."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of recognised text."""

    suffix: str
    write: Callable[[Hypothesis], str]
    alone: bool = False
    """One recording is one file; else several can share one."""


def format_named(name: str) -> Format:
    """Return a format. Raises UsageError where there is none of this name."""
    if name not in FORMATS:
        raise UsageError(f"the format must be one of {', '.join(FORMATS)}, but is {name!r} instead")
    return FORMATS[name]


def to_ctm(heard: Hypothesis) -> str:
    """Return a line a word: name, channel, start, duration, word, confidence; a comment where there is none."""
    name = escaped(heard.id)
    if not heard.words:
        return f";; no words in {name} {seconds_text(heard.duration_s)}"
    return "\n".join(
        f"{name} 1 {seconds_text(word.start_s)} {seconds_text(word.end_s - word.start_s)} {_shown(word.word)}"
        + ("" if word.confidence is None else f" {word.confidence:.4f}")
        for word in heard.words
    )


def to_textgrid(heard: Hypothesis) -> str:
    """Return a Praat TextGrid with the tiers ``words`` and ``tokens``, what lies between them being empty.

    Raises
    ------
    InputRefused
        If the recording has no duration: Praat refuses such files.
    """
    if heard.duration_s <= 0:
        raise InputRefused(f"a TextGrid must last longer than 0 s, but {heard.id} does not")
    words = [Span(word.start_s, word.end_s, word.word, None) for word in heard.words]
    tokens = [Span(token.start_s, token.end_s, token.token, None) for token in heard.tokens]
    tiers = [
        tier_lines(number, name, list(_covering(spans, heard.duration_s)), heard.duration_s)
        for number, (name, spans) in enumerate([("words", words), ("tokens", tokens)], start=1)
    ]
    return with_tiers(tiers, heard.duration_s)


def to_srt(heard: Hypothesis) -> str:
    """Return SubRip subtitles: at most 84 characters or 7 s each, parted at pauses of a second."""
    return "\n".join(
        f"{number}\n{_clock(cue[0].start_s)} --> {_clock(cue[-1].end_s)}\n{_lines([word.word for word in cue])}\n"
        for number, cue in enumerate(_cues(heard.words), start=1)
    )


FORMATS: Mapping[str, Format] = {
    "text": Format(suffix=".txt", write=lambda heard: heard.text),
    "jsonl": Format(suffix=".jsonl", write=Hypothesis.to_json),
    "ctm": Format(suffix=".ctm", write=to_ctm),
    "textgrid": Format(suffix=".TextGrid", write=to_textgrid, alone=True),
    "srt": Format(suffix=".srt", write=to_srt, alone=True),
}
"""Every format, by the name the command line calls it."""


def _covering(spans: Sequence[Span], duration_s: float) -> Iterator[Span]:
    """Yield spans with empty ones between them: intervals of a tier must meet and cover the recording."""
    reached = 0.0
    for span in spans:
        if span.start_s - reached > _TOUCHING_S:
            yield Span(reached, span.start_s, "", None)
        yield span
        reached = span.end_s
    if duration_s - reached > _TOUCHING_S:
        yield Span(reached, duration_s, "", None)


def _cues(words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    cue: list[TimedWord] = []
    for word in words:
        if cue and (
            word.start_s - cue[-1].end_s > _PAUSE_S
            or word.end_s - cue[0].start_s > _LONGEST_CUE_S
            or len(" ".join(other.word for other in [*cue, word])) > _LONGEST_LINE
        ):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _lines(words: Sequence[str]) -> str:
    """Return words in one line, or in two of about the same length."""
    whole = " ".join(words)
    if len(whole) <= _LONGEST_LINE // 2 or len(words) < 2:
        return whole
    pairs = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    return "\n".join(min(pairs, key=lambda pair: max(map(len, pair))))


def _clock(seconds: float) -> str:
    total = round(1000 * seconds)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d},{total % 1000:03d}"


def _shown(word: str) -> str:
    """Return a word without white space in it: exotic spaces would part the columns."""
    return "_".join(word.split())
