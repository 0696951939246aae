from hypothesis import given
from hypothesis import strategies as st

from speechunits.asr.greedy import Spike, collapse, spikes
from tests.reference.asr import collapse as oracle


@given(st.lists(st.integers(0, 3)))
def test_collapse_equals_the_oracle(labels):
    assert tuple(collapse(labels)) == oracle(labels)


def test_spikes_name_their_frames():
    assert spikes([0, 2, 2, 0, 2, 1]) == [Spike(2, 1, 2), Spike(2, 4, 4), Spike(1, 5, 5)]
    assert spikes([0, 0]) == []
