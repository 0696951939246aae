"""The invented language."""

from collections import Counter
from itertools import islice

import numpy as np

from speechunits.audio.sentences import Sentences, text_only_sentences


def test_words_are_many_and_zipfian():
    sentences = list(islice(Sentences(seed=0).stream("corpus"), 3000))
    counts = np.array(sorted(Counter(word for text in sentences for word in text.split()).values(), reverse=True))
    assert len(counts) >= 1500
    ranks = np.arange(1, len(counts) + 1)
    slope = np.polyfit(np.log(ranks[10:500]), np.log(counts[10:500]), 1)[0]
    assert -1.4 < slope < -0.7


def test_sentences_are_distinct_and_of_3_to_9_words():
    sentences = list(islice(Sentences(seed=1).stream("corpus"), 2000))
    assert len(set(sentences)) == 2000
    assert {len(text.split()) for text in sentences} <= set(range(3, 10))


def test_the_orthography_is_transparent():
    words = [word for own in Sentences(seed=2).words.values() for word in own]
    assert len(words) == len(set(words))
    text = " ".join(words)
    assert set(text) <= set("abcdefghiklmnñoprstuyz ")
    for ambiguous in ("ge", "gi", "gue", "gui", "rr", "ll", "ss", "nn"):
        assert ambiguous not in text, ambiguous
    assert text.count("h") == text.count("ch") == text.count("c")


def test_seed_and_language_decide():
    first = list(islice(Sentences(seed=0).stream("corpus"), 20))
    assert first == list(islice(Sentences(seed=0).stream("corpus"), 20))
    assert first != list(islice(Sentences(seed=1).stream("corpus"), 20))
    assert first != list(islice(Sentences(seed=0, language="it").stream("corpus"), 20))


def test_extra_text_is_of_the_same_language_and_in_no_split():
    forbidden = set(islice(Sentences(seed=0).stream("text"), 50))
    extra = text_only_sentences(300, seed=0, forbidden=forbidden)
    assert len(set(extra)) == 300
    assert forbidden.isdisjoint(extra)
    known = {word for own in Sentences(seed=0).words.values() for word in own}
    assert known.issuperset(word for text in extra for word in text.split())
