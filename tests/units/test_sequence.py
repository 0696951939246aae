"""Runs of units and their edges in seconds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechunits.units.sequence import expanded, intervals, merged, runs
from tests.reference import units as reference

unit_lists = st.lists(st.integers(0, 3), max_size=40)


@given(units=unit_lists)
def test_runs_match_the_definition_and_expand_back(units):
    array = np.array(units, np.int64)
    found = runs(array)
    assert [tuple(run) for run in found] == reference.runs(units)
    assert expanded(found).tolist() == units
    assert merged(array).tolist() == [run.unit for run in found]


@given(units=st.lists(st.integers(0, 3), min_size=1, max_size=40), extra=st.integers(0, 319))
def test_intervals_meet_and_cover_the_recording(units, extra):
    duration_s = (400 + 320 * (len(units) - 1) + extra) / 16_000
    spans = intervals(np.array(units, np.int64), duration_s)
    assert spans[0].start_s == 0
    assert spans[-1].end_s == duration_s
    for left, right in itertools.pairwise(spans):
        assert left.end_s == pytest.approx(right.start_s, abs=1e-9)
        assert left.unit != right.unit


def test_known_edges():
    # Frame 1 has its centre at 32.5 ms and reaches from 22.5 to 42.5 ms.
    spans = intervals(np.array([5, 7, 7, 2]), 0.1)
    assert [tuple(span) for span in spans] == [
        (5, 0.0, pytest.approx(0.0225)),
        (7, pytest.approx(0.0225), pytest.approx(0.0625)),
        (2, pytest.approx(0.0625), 0.1),
    ]


def test_no_units_have_no_runs():
    nothing = np.zeros(0, np.int64)
    assert runs(nothing) == intervals(nothing, 0.01) == []
    assert merged(nothing).shape == expanded([]).shape == (0,)
