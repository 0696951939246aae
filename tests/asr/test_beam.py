"""Prefix search against the sum over all paths, with and without language models; times of what it found."""

import math

import numpy as np
import pytest

from speechunits.asr.alignment import best_path
from speechunits.asr.arpa import NgramModel
from speechunits.asr.beam import Search, prefix_search, stretches
from speechunits.asr.decoder import Decoder
from speechunits.asr.greedy import collapse
from speechunits.asr.language import LanguageScorer
from speechunits.asr.tokens import Tokenizer
from speechunits.errors import UsageError
from speechunits.evaluation.language import estimate_ngrams
from tests.reference.asr import katz_log10, most_probable_path, ranked_texts

WIDE = Search(width=5000, weight=0.7, bonus=0.4, floor=math.inf)
TOKENIZER = Tokenizer(["", " ", "a", "b"])


def posteriors(frames, symbols, seed, sharpness=1.5):
    logits = np.random.default_rng(seed).normal(0, sharpness, (frames, symbols))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def model(names, order, seed):
    """Make a back-off model of random numbers: it need not be a distribution."""
    generator = np.random.default_rng(seed)
    names = [*names, "</s>"]
    ngrams = {("<s>",): (-99.0, float(generator.normal()))}
    contexts = [()]
    for length in range(1, order + 1):
        new = [(*context, name) for context in contexts for name in names if "</s>" not in context]
        kept = new if length == 1 else [ngram for ngram in new if generator.random() < 0.5]
        ngrams |= {ngram: (-float(generator.exponential()), float(generator.normal(0, 0.3))) for ngram in kept}
        contexts = [*kept, ("<s>",)] if length == 1 else kept
    return NgramModel(order, ngrams)


def spelled(text):
    return "".join(TOKENIZER.symbols[token] for token in text)


def log_probability(lm, symbols):
    """Ln P of symbols between the marks, each after all before it, unknown ones at 10⁻¹⁰ and forgetting all."""
    history, total = ("<s>",), 0.0
    for symbol in [*symbols, "</s>"]:
        if (symbol,) in lm.ngrams:
            total += katz_log10(lm.ngrams, history[-(lm.order - 1) :] if lm.order > 1 else (), symbol)
            history = (*history, symbol)
        else:
            total -= 10
            history = ()
    return total * math.log(10)


def by_characters(lm):
    return lambda text: log_probability(lm, [letter.replace(" ", "<space>") for letter in spelled(text)])


def by_words(lm):
    """Score a word once a space ends it; the last one at the end, and nothing for no word there."""

    def score(text):
        *words, last = spelled(text).split(" ")
        return log_probability(lm, [*words, *([last] if last else [])])

    return score


@pytest.mark.parametrize("seed", range(4))
def test_without_a_language_model_it_is_the_sum_over_all_paths(seed):
    heard = posteriors(5, 4, seed)
    found = prefix_search(heard, Search(width=5000, bonus=0.3, floor=math.inf))
    expected = ranked_texts(heard.tolist(), lambda text: 0.3 * len(text))
    assert len(found) == len(expected)
    assert [candidate.tokens for candidate in found[:20]] == [text for text, _ in expected[:20]]
    np.testing.assert_allclose([candidate.score for candidate in found], [score for _, score in expected], atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["characters", "words"])
def test_with_a_language_model_it_is_the_best_of_all_texts(kind, order):
    names = ["<space>", "a", "b"] if kind == "characters" else ["a", "ab", "b", "bab"]
    for seed in range(3):
        lm = model(names, order, seed)
        heard = posteriors(5, 4, 10 + seed)
        scored = (by_characters if kind == "characters" else by_words)(lm)
        expected = ranked_texts(heard.tolist(), lambda text, scored=scored: 0.7 * scored(text) + 0.4 * len(text))
        found = prefix_search(heard, WIDE, LanguageScorer(lm, TOKENIZER))
        np.testing.assert_allclose([item.score for item in found], [score for _, score in expected], atol=1e-9)
        assert found[0].tokens == expected[0][0]


def test_a_narrow_beam_finds_the_same_where_little_is_in_doubt():
    heard = posteriors(6, 4, 3, sharpness=4.0)
    lm = model(["<space>", "a", "b"], 3, 0)
    wide = prefix_search(heard, WIDE, LanguageScorer(lm, TOKENIZER))[0]
    narrow = prefix_search(heard, Search(width=8, weight=0.7, bonus=0.4), LanguageScorer(lm, TOKENIZER))
    assert narrow[0].tokens == wide.tokens
    assert narrow[0].score == pytest.approx(wide.score, abs=0.01)
    assert len(narrow) == 8


def test_the_language_model_decides_what_is_in_doubt():
    heard = np.log(np.array([[0.1, 0.1, 0.4, 0.4], [0.9, 0.05, 0.025, 0.025]]))
    for favourite in "ab":
        lm = NgramModel(
            1, {(name,): (-0.1 if name == favourite else -2.0, 0.0) for name in ("<space>", "a", "b", "</s>")}
        )
        found = prefix_search(heard, Search(weight=1.0), LanguageScorer(lm, TOKENIZER))[0]
        assert spelled(found.tokens) == favourite


def test_pieces_are_scored_as_the_text_they_spell():
    class Pieces(Tokenizer):
        def __init__(self):
            super().__init__(["", "▁a", "b", "▁b"])
            self.model = b"pieces"

    lm = model(["<space>", "a", "b"], 3, 1)
    scorer = LanguageScorer(lm, Pieces())
    state, total = scorer.root, 0.0
    for token in (1, 2, 3):  # "▁a" "b" "▁b": ab b
        total += scorer.scores(np.array([state]))[0, token]
        state = scorer.step(state, token)
    total += scorer.final([state])[0]
    assert total == pytest.approx(log_probability(lm, ["a", "b", "<space>", "b"]))


def test_another_alphabet_is_refused_and_the_difference_named():
    with pytest.raises(UsageError, match=r"of characters\).*lacks the space, 'b'; only the model has 'x', 'я'"):
        LanguageScorer(model(["a", "x", "я"], 1, 0), TOKENIZER)
    with pytest.raises(UsageError, match=r"of words\).*lacks 'b'; only the model has none"):
        LanguageScorer(model(["a", "aa"], 1, 0), TOKENIZER)
    LanguageScorer(model(["<space>", "a", "b", "more"[0]], 1, 0), TOKENIZER)


def test_a_model_of_phones_scores_one_symbol_for_every_token():
    phones = Tokenizer(["", "aɪ", "b", "tʃ"], spaced=True)
    lm = estimate_ngrams(["aɪ b", "aɪ b tʃ", "b aɪ"], order=3, words=True)
    scorer = LanguageScorer(lm, phones)
    state, context = scorer.root, lm.after((), "<s>")
    for token in (1, 2, 3):
        symbol = phones.symbols[token]
        expected = math.log(10) * lm.log10(context, symbol)
        assert scorer.scores(np.array([state]))[0, token] == pytest.approx(expected)
        state, context = scorer.step(state, token), lm.after(context, symbol)
    assert scorer.final([state])[0] == pytest.approx(math.log(10) * lm.log10(context, "</s>"))
    with pytest.raises(UsageError, match="must know every phone that the recogniser writes, but lacks 'aɪ', 'tʃ'"):
        LanguageScorer(estimate_ngrams(["aɪ b tʃ"], order=2), phones)


def test_many_states_are_forgotten_but_for_the_one_that_goes_on(monkeypatch):
    monkeypatch.setattr("speechunits.asr.language._MOST_STATES", 3)
    lm = model(["<space>", "a", "b"], 3, 1)
    scorer, fresh = LanguageScorer(lm, TOKENIZER), LanguageScorer(lm, TOKENIZER)
    state = other = scorer.root
    for token in (2, 3, 2, 1, 2):
        state, other = scorer.forget(scorer.step(state, token)), fresh.step(other, token)
        np.testing.assert_array_equal(scorer.scores(np.array([state])), fresh.scores(np.array([other])))
    assert len(scorer._keys) < len(fresh._keys)


@pytest.mark.parametrize("tokens", [(), (1,), (1, 1), (2, 1, 2), (1, 2, 3)])
def test_the_best_path_spells_its_tokens(tokens):
    for seed in range(3):
        heard = posteriors(5, 4, seed)
        path = best_path(heard, tokens)
        assert collapse(path.tolist()) == list(tokens)
        assert heard[np.arange(5), path].sum() == pytest.approx(most_probable_path(heard.tolist(), tokens))


def test_too_few_frames_for_the_tokens():
    with pytest.raises(ValueError, match="3 tokens need more than the 3 frames"):
        best_path(posteriors(3, 3, 0), (1, 1, 2))
    assert best_path(np.zeros((0, 3)), ()).tolist() == []


def test_a_long_recording_is_searched_in_stretches():
    heard = posteriors(400, 4, 0, sharpness=4.0)
    heard[::25] = np.log([0.97, 0.01, 0.01, 0.01])
    parts = stretches(heard, 60)
    assert [first for first, _ in parts[1:]] == [stop for _, stop in parts[:-1]]
    assert (parts[0][0], parts[-1][1]) == (0, 400)
    assert all(stop - first <= 60 for first, stop in parts)
    assert all(heard[stop - 1, 0] > math.log(0.9) for _, stop in parts[:-1])
    assert stretches(heard[:0]) == []
    assert stretches(heard, 400) == [(0, 400)]


def test_stretches_join_to_what_one_search_finds(monkeypatch):
    heard = posteriors(300, 4, 0, sharpness=12.0).astype(np.float32)
    heard[::25] = np.log([0.997, 0.001, 0.001, 0.001])
    # Where little is in doubt: a stretch hands on one text, not its whole beam.
    search = Search(weight=0.1, bonus=0.0)
    lm = model(["<space>", "a", "b"], 3, 1)
    whole = Decoder(search, LanguageScorer(lm, TOKENIZER)).labels(heard)
    monkeypatch.setattr("speechunits.asr.decoder.stretches", lambda found: stretches(found, 70))
    joined = Decoder(search, LanguageScorer(lm, TOKENIZER)).labels(heard)
    assert collapse(joined.tolist()) == collapse(whole.tolist())
    np.testing.assert_array_equal(Decoder().labels(heard), heard.argmax(axis=1))
    assert len(Decoder(Search()).labels(heard[:0])) == 0


def test_the_language_model_goes_on_where_a_stretch_ended(monkeypatch):
    # After "a" comes "b", and texts begin with "a": what the second stretch makes of a doubt tells where the model is.
    lm = estimate_ngrams(["abab", "ab ab"] * 9, order=2)
    blank, sure, doubt = (
        np.log(row) for row in ([0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01], [0.02, 0.02, 0.48, 0.48])
    )
    heard = np.stack([blank, sure, *[blank] * 4, doubt, *[blank] * 3]).astype(np.float32)
    monkeypatch.setattr("speechunits.asr.decoder.stretches", lambda found: [(0, 5), (5, len(found))])
    monkeypatch.setattr("speechunits.asr.language._MOST_STATES", 1)
    decoder = Decoder(Search(weight=1.0, bonus=0.0), LanguageScorer(lm, TOKENIZER))
    assert TOKENIZER.decode(decoder.tokens(heard)) == "ab"
    assert TOKENIZER.decode(decoder.tokens(heard[5:])).startswith("a")
    assert collapse(decoder.labels(heard).tolist()) == decoder.tokens(heard)


def test_a_search_must_make_sense():
    with pytest.raises(ValueError, match="width must be at least 1"):
        Search(width=0)
