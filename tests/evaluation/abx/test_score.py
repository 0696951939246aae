import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechunits.errors import UsageError
from speechunits.evaluation.abx.dtw import FrameTokens, UnitTokens
from speechunits.evaluation.abx.items import Item
from speechunits.evaluation.abx.score import abx_score
from tests.reference.abx import abx, warped
from tests.reference.reduction import edit_distance

MODES = [(speaker, context) for speaker in ("within", "across") for context in ("within", "any")]


def items_of(rng, count, phones=3, speakers=3, contexts=2):
    return [
        Item("r", 0, 1, f"p{rng.integers(phones)}", f"c{rng.integers(contexts)}", "n", f"s{rng.integers(speakers)}")
        for _ in range(count)
    ]


def labelled(items, values):
    return [(item.phone, item.previous, item.speaker, value) for item, value in zip(items, values, strict=True)]


@pytest.mark.parametrize(("speaker", "context"), MODES)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 24))
def test_the_score_is_the_oracles(speaker, context, seed, count):
    rng = np.random.default_rng(seed)
    items = items_of(rng, count)
    lengths = rng.integers(1, 4, count)
    frames = rng.standard_normal((lengths.sum(), 4)).astype(np.float32)
    starts = np.cumsum(lengths) - lengths
    values = [frames[start : start + length].tolist() for start, length in zip(starts, lengths, strict=True)]
    tokens = FrameTokens(frames, starts, lengths, "angular")
    try:
        wanted = abx(labelled(items, values), lambda x, y: warped(x, y, "angular"), speaker=speaker, context=context)
    except ZeroDivisionError:
        with pytest.raises(UsageError, match="needs triples"):
            abx_score(tokens, items, speaker=speaker, context=context)
        return
    made = abx_score(tokens, items, speaker=speaker, context=context)
    assert (made.error, made.error_symmetric) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("speaker", "context"), MODES)
def test_the_score_of_units_is_the_oracles_with_ties(speaker, context):
    rng = np.random.default_rng(3)
    items = items_of(rng, 40)
    sequences = [rng.integers(0, 2, rng.integers(1, 4)) for _ in items]

    def normalised(x, y):
        return edit_distance(list(x), list(y)) / max(len(x), len(y))

    wanted = abx(labelled(items, sequences), normalised, speaker=speaker, context=context)
    made = abx_score(UnitTokens(sequences), items, speaker=speaker, context=context)
    assert (made.error, made.error_symmetric) == pytest.approx(wanted, abs=1e-9)


def known(values, phones, speakers):
    items = [Item("r", 0, 1, phone, "c", "c", speaker) for phone, speaker in zip(phones, speakers, strict=True)]
    frames = np.array(values, np.float32)
    return FrameTokens(frames, np.arange(len(items)), np.ones(len(items), int), "euclidean"), items


def test_known_answers():
    separate = known([[0], [1], [10], [11]], "aabb", "ssss")
    assert abx_score(*separate, speaker="within", context="within").error == 0
    equal = known([[0]] * 4, "aabb", "ssss")
    assert abx_score(*equal, speaker="within", context="within").error == 0.5
    # X of the other speaker lies by this speaker's other phone.
    crossed = known([[0], [10], [10], [0]], "abab", "sstt")
    assert abx_score(*crossed, speaker="across", context="any").error == 1
    # One order has no triple: b is heard once.
    lonely = abx_score(*known([[0], [1], [9]], "aab", "sss"), speaker="within", context="within")
    assert (lonely.error, lonely.error_symmetric, lonely.pairs, lonely.triples) == (0, 0, 1, 2)


def test_noise_is_at_chance():
    rng = np.random.default_rng(0)
    items = items_of(rng, 900, phones=4, speakers=2, contexts=1)
    tokens = FrameTokens(rng.standard_normal((900, 8)).astype(np.float32), np.arange(900), np.ones(900, int), "cosine")
    for speaker in ("within", "across"):
        assert abx_score(tokens, items, speaker=speaker, context="any").error == pytest.approx(0.5, abs=0.02)


def test_order_of_items_changes_nothing_and_other_speakers_are_drawn_by_seed():
    rng = np.random.default_rng(5)
    items = items_of(rng, 120, speakers=8, contexts=1)
    frames = rng.standard_normal((120, 3)).astype(np.float32)

    def score(order, **settings):
        tokens = FrameTokens(frames[order], np.arange(120), np.ones(120, int), "angular")
        return abx_score(tokens, [items[place] for place in order], speaker="across", context="any", **settings)

    assert score(np.arange(120)).error == pytest.approx(score(rng.permutation(120)).error, abs=1e-12)
    few = [score(np.arange(120), max_other_speakers=2, seed=seed) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few[0].triples < score(np.arange(120)).triples
    assert score(np.arange(120), max_other_speakers=7) == score(np.arange(120))
