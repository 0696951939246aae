"""ABX and probes of a units bundle: the figures of the commands, and what a corpus does not allow left out."""

from dataclasses import replace

import pytest

from speechunits.audio.corpus import load_corpus
from speechunits.config import UnitsConfig
from speechunits.evaluation.abx.items import items_from_phones
from speechunits.evaluation.abx.measure import QUICK, measure_abx
from speechunits.evaluation.sources import open_sources
from speechunits.representation import measure_representation
from speechunits.units.fit import fit_units
from tests.spine import make_recipe


@pytest.fixture
def corpus(tiny_corpus, tmp_path):
    return load_corpus(make_recipe(tiny_corpus, tmp_path).corpus)


@pytest.fixture
def bundle(corpus, tmp_path):
    path = tmp_path / "mfcc.safetensors"
    config = UnitsConfig(source="mfcc", clusters=8)
    fit_units(None, corpus.split("train"), config, path=path, provenance={})
    return path


def test_figures_are_those_of_the_commands(corpus, bundle):
    found = measure_representation(bundle, "mfcc", corpus, "train")
    recordings = corpus.split("train")
    items = items_from_phones(recordings, corpus.phones, "triphone")
    (row,) = measure_abx(open_sources({"mfcc": "mfcc"}), {}, items, recordings, QUICK)["scores"]
    assert found["abx"]["error"] == row["error"]
    assert 0 < found["probe"]["phone"] <= 1
    assert 0 < found["probe"]["speaker"] <= 1


def test_one_speaker_allows_neither_abx_across_nor_a_speaker_probe(corpus, bundle):
    alone = replace(corpus, recordings=tuple(replace(row, speaker="one") for row in corpus.recordings))
    found = measure_representation(bundle, "mfcc", alone, "train")
    assert found["abx"] == {}
    assert set(found["probe"]) == {"phone"}
