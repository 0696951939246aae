"""The tiny corpora that the tests of the engine train and evaluate on."""

import pytest

from tests.engine.tiny import make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("held_out"), 3, seed=1, prefix="h")
