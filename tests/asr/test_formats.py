import itertools
import json
import re

import pytest

from speechunits.asr.formats import format_named
from speechunits.asr.hypothesis import Hypothesis
from speechunits.asr.words import TimedToken, TimedWord, timed_words
from speechunits.audio.textgrid import read_textgrid
from speechunits.errors import InputRefused, UsageError
from speechunits.frames import frame_edges_s


def tokens(text, *, step_s=0.1, confidence=0.5):
    return [
        TimedToken(token=letter, start_s=index * step_s, end_s=(index + 1) * step_s, confidence=confidence)
        for index, letter in enumerate(text)
    ]


def heard(text, name="a b", step_s=0.1, duration_s=None):
    spelled = tokens(text, step_s=step_s)
    return Hypothesis(
        id=name, duration_s=duration_s or step_s * len(text) + 0.5, text=text, tokens=tuple(spelled),
        words=tuple(timed_words(spelled)), confidence=0.5 if text else None, all_blank=not text,
    )  # fmt: skip


def test_words_go_from_their_first_token_to_their_last():
    spelled = [*tokens("ab c"), TimedToken(token="d", start_s=0.5, end_s=0.7, confidence=1.0)]
    words = timed_words(spelled)
    assert [(word.word, word.start_s, word.end_s) for word in words] == [
        ("ab", 0.0, 0.2),
        ("cd", pytest.approx(0.3), 0.7),
    ]
    assert [word.confidence for word in words] == [0.5, 0.75]
    assert timed_words(tokens("  ")) == []
    assert timed_words(tokens("a", confidence=None))[0].confidence is None


def test_a_phone_is_a_word_of_its_own():
    spoken = [TimedToken(token=phone, start_s=index, end_s=index + 1) for index, phone in enumerate(["aɪ", "b", "tʃ"])]
    assert [(word.word, word.start_s, word.end_s) for word in timed_words(spoken, spaced=True)] == [
        ("aɪ", 0, 1), ("b", 1, 2), ("tʃ", 2, 3),
    ]  # fmt: skip


def test_pieces_begin_words_with_a_mark():
    pieces = [
        TimedToken(token=piece, start_s=index, end_s=index + 1) for index, piece in enumerate(["▁ab", "c", "▁", "d"])
    ]
    assert [(word.word, word.start_s, word.end_s) for word in timed_words(pieces, marked=True)] == [
        ("abc", 0, 2),
        ("d", 3, 4),
    ]
    assert [word.word for word in timed_words(pieces)] == ["▁abc▁d"]


def test_intervals_last_and_meet_where_frames_do():
    # The end of a frame and the start of the next are the same time, but not the same sum.
    edges = [frame_edges_s(frame, frame, total=5000, duration_s=100.0) for frame in range(5000)]
    touching = [at for at in range(1, 4999) if edges[at - 1][1] < edges[at][0]]
    spelled = [TimedToken(token="a", start_s=edges[at][0], end_s=edges[at][1])
               for first in touching[:40:2] for at in (first - 1, first)]  # fmt: skip
    found = Hypothesis(id="x", duration_s=100.0, text="a" * len(spelled), tokens=tuple(spelled),
                       words=tuple(timed_words(spelled)), confidence=None, all_blank=False)  # fmt: skip
    grid = format_named("textgrid").write(found)
    lines = re.findall(r"xmin = (\S+)\s+xmax = (\S+)\s+text", grid)
    assert len(spelled) == 40
    assert len(lines) > 40
    assert all(float(start) < float(end) for start, end in lines)


def test_ctm_has_a_line_a_word():
    lines = format_named("ctm").write(heard("ab c")).split("\n")
    assert lines == ["a%20b 1 0 0.2 ab 0.5000", "a%20b 1 0.3 0.1 c 0.5000"]
    assert format_named("ctm").write(heard("", duration_s=1.5)) == ";; no words in a%20b 1.5"


def test_a_textgrid_can_be_read_and_covers_the_recording(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_text(format_named("textgrid").write(heard('a"b c')))
    found = read_textgrid(path)
    assert [row.text for row in found.tier("words") if row.text] == ['a"b', "c"]
    rows = found.tier("tokens")
    assert rows[0].start_s == 0
    assert rows[-1].end_s == pytest.approx(1.0)
    assert all(left.end_s == right.start_s for left, right in itertools.pairwise(rows))
    path.write_text(format_named("textgrid").write(heard("", duration_s=2.0)))
    assert [row.text for row in read_textgrid(path).tier("words")] == [""]
    with pytest.raises(InputRefused, match="longer than 0 s"):
        format_named("textgrid").write(Hypothesis(
            id="x", duration_s=0.0, text="", tokens=(), words=(), confidence=None, all_blank=True))  # fmt: skip


def test_subtitles_are_short_and_in_order():
    text = " ".join(["palabra"] * 40)
    shown = format_named("srt").write(heard(text, step_s=0.05))
    cues = re.findall(r"(\d+)\n(\S+) --> (\S+)\n((?:.+\n)+)", shown)
    assert [int(cue[0]) for cue in cues] == list(range(1, len(cues) + 1))
    assert " ".join(" ".join(cue[3].split()) for cue in cues) == text
    assert all(len(cue[3]) <= 86 and cue[3].count("\n") <= 2 for cue in cues)
    assert cues[0][1] == "00:00:00,000"
    assert all(left[2] <= right[1] for left, right in itertools.pairwise(cues))
    assert format_named("srt").write(heard("")) == ""
    late = heard("ab", duration_s=4000)
    late = Hypothesis(**(vars(late) | {"words": (TimedWord(word="a", start_s=3661.5, end_s=3662.0, confidence=None),)}))
    assert "01:01:01,500 --> 01:01:02,000" in format_named("srt").write(late)


def test_a_pause_parts_subtitles():
    words = tuple(TimedWord(word="a", start_s=start, end_s=start + 0.3, confidence=0.9) for start in (0.0, 0.5, 2.0))
    shown = format_named("srt").write(Hypothesis(**(vars(heard("a")) | {"words": words})))
    assert shown.count("-->") == 2


def test_json_holds_everything():
    found = json.loads(format_named("jsonl").write(heard("ab c")))
    assert found["words"][0] == {"word": "ab", "start_s": 0.0, "end_s": 0.2, "confidence": 0.5}
    assert found["tokens"][0]["confidence"] == 0.5
    assert format_named("text").write(heard("ab c")) == "ab c"


def test_unknown_format():
    with pytest.raises(UsageError, match="format must be one of text, jsonl, ctm, textgrid, srt, but is 'eaf'"):
        format_named("eaf")


def test_words_are_spelled_as_the_text_is():
    tokens = [
        TimedToken(token=letter, start_s=index / 10, end_s=index / 10 + 0.1, confidence=None)
        for index, letter in enumerate(["e", "\u0303", " ", "a"])
    ]
    assert [word.word for word in timed_words(tokens, marked=False, spaced=False)] == ["\u1ebd", "a"]
