"""Recipes side by side: every figure of a row, what is kept, a collapse as a row, and the second ranking's budgets."""

import contextlib
import io
from dataclasses import replace

import pytest

from speechunits import comparison
from speechunits.comparison import compare
from speechunits.errors import Collapsed, TrainingStopped, UsageError
from speechunits.run import read_json, write_json
from tests.spine import make_recipe


@pytest.fixture
def here(monkeypatch):
    """Train in this process: starting another one is tested elsewhere."""
    monkeypatch.setattr(comparison, "in_processes", lambda work, items, jobs, name: work(items))


def recipes(tiny_corpus, runs):
    units = make_recipe(tiny_corpus, runs, name="objectives-units")
    online = make_recipe(
        tiny_corpus, runs, name="objectives-online",
        pretrain={"masked_prediction": {"targets": "online", "teacher": {"codewords": 16, "layers": 1}}},
    )  # fmt: skip
    return [units, online]


@pytest.mark.usefixtures("here")
def test_every_recipe_is_trained_and_measured_once(tiny_corpus, tmp_path, monkeypatch):
    both = recipes(tiny_corpus, tmp_path)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        found = compare(both, seeds=1)
    baseline, *rows = found["rows"]
    assert baseline["name"] == "MFCC k-means"
    assert 0 < baseline["measures"]["without_silence"]["pnmi"] < 1
    assert [(row["name"], row["seed"], row["ranking"]) for row in rows] == [
        ("objectives-units", 0, "hours"), ("objectives-online", 0, "hours"),
    ]  # fmt: skip
    for row in rows:
        assert row["audio_hours"] == pytest.approx(0.03, abs=0.01)
        assert row["bits"] == pytest.approx(row["chance_bits"] - row["held_out"]["loss_bits"], abs=1e-6)
        assert row["audio_hours_per_hour"] == pytest.approx(3600 * row["audio_hours"] / row["processor_s"])
        assert row["memory_mb"] > 50
        # A teacher hears everything too, forward only.
        passes = 4 / 3 if row["name"].endswith("online") else 1
        assert row["encoder_hours"] == pytest.approx(passes * row["audio_hours"], abs=1e-3)
        assert row["stopped"] is None
        assert 0 < row["measures"]["without_silence"]["pnmi"] < 1
        assert row["measures"]["predictable_bits_a_frame"] > 0
        assert 0 <= row["measures"]["probe"]["phone"] <= 1
    assert said.getvalue().count("objectives-online, seed 0") == 2

    monkeypatch.setattr(comparison, "pretrain_passes", None)
    with contextlib.redirect_stderr(io.StringIO()):
        assert compare(both, seeds=1)["rows"] == found["rows"]
    # Where the run folders are gone, rows that were published are continued from; of other settings they are not.
    monkeypatch.setattr(comparison, "_measures", None)
    elsewhere = [replace(recipe, runs=tmp_path / "elsewhere") for recipe in both]
    with contextlib.redirect_stderr(io.StringIO()):
        assert compare(elsewhere, seeds=1, published=found["rows"])["rows"] == found["rows"]
        seen = []
        with pytest.raises(TypeError):
            compare(elsewhere, seeds=2, published=found["rows"], on_row=seen.append)
    # What is published and was not reached is kept in what is written meanwhile.
    assert [results["rows"] for results in seen] == [found["rows"]] * 2


def test_rows_that_are_published_are_not_lost(tiny_corpus, tmp_path, monkeypatch):
    def row(contender, place, known):
        recipe = contender.recipe
        return {"name": recipe.name, "seed": recipe.pretrain.seed, "ranking": contender.ranking, "key": contender.key,
                "measured": "m", "audio_hours_per_hour": 60.0}  # fmt: skip

    monkeypatch.setattr(comparison, "_row", row)
    monkeypatch.setattr(comparison, "_baseline", lambda recipe, known: {"ranking": None, "key": "b", "measured": "m"})
    both = recipes(tiny_corpus, tmp_path)
    published = compare(both, seeds=2, minutes=1.0)["rows"]
    assert compare(both, seeds=3, minutes=1.0, published=published)["rows"][:3] == published[:3]
    minutes = {"seeds": 2, "minutes": 1.0}
    assert compare(both, **minutes, published=published)["rows"] == published
    changes = [{"seeds": 1}, {"minutes": None}, {"minutes": 2.0}, {"minutes_seeds": 1}]
    for fewer, arguments in [(both[:1], minutes), *((both, minutes | change) for change in changes)]:
        with pytest.raises(UsageError, match=r"trainings that this one has not \(objectives-.*another folder with -o"):
            compare(fewer, published=published, **arguments)


def test_phones_that_are_targets_decide_a_training(tiny_corpus, tmp_path):
    phones = tmp_path / "phones.tsv"
    phones.write_bytes((tiny_corpus / "phones.tsv").read_bytes())
    found = []
    for _ in range(2):
        for targets in ("units", "phones"):
            recipe = recipes(tiny_corpus, tmp_path)[0]
            recipe = replace(recipe, corpus=replace(recipe.corpus, phones=phones))
            learner = replace(recipe.pretrain.masked_prediction, targets=targets)
            recipe = replace(recipe, pretrain=replace(recipe.pretrain, masked_prediction=learner))
            found.append(comparison.Contender(recipe=recipe, ranking="hours").key)
        phones.write_bytes(phones.read_bytes().replace(b"SIL", b"sil"))
    assert found[0] == found[2]
    assert len(set(found)) == 3


@pytest.mark.usefixtures("here")
def test_what_an_earlier_version_measured_is_measured_again_without_training(tiny_corpus, tmp_path, monkeypatch):
    recipe = recipes(tiny_corpus, tmp_path)[:1]
    with contextlib.redirect_stderr(io.StringIO()):
        found = compare(recipe, seeds=1)["rows"]
    (saved,) = tmp_path.glob("comparison/objectives-*/comparison.json")
    before = read_json(saved)
    write_json(saved, before | {"measured": "another", "row": before["row"] | {"measures": None}})
    monkeypatch.setattr(comparison, "pretrain_passes", None)
    with contextlib.redirect_stderr(io.StringIO()):
        assert compare(recipe, seeds=1)["rows"] == found


@pytest.mark.usefixtures("here")
def test_a_collapse_is_a_row(tiny_corpus, tmp_path, monkeypatch):
    def collapsing(*arguments):
        pretrain(*arguments)
        raise Collapsed("collapsed: one symbol")

    pretrain = comparison.pretrain_passes
    monkeypatch.setattr(comparison, "pretrain_passes", collapsing)
    with contextlib.redirect_stderr(io.StringIO()):
        _, row = compare(recipes(tiny_corpus, tmp_path)[:1], seeds=1)["rows"]
    assert row["stopped"] == "collapsed: one symbol"
    assert row["measures"]["clusters"] == 12


@pytest.mark.usefixtures("here")
def test_what_may_end_otherwise_is_no_row_but_trained_again(tiny_corpus, tmp_path, monkeypatch):
    def stopped(config, corpus, folder):
        pretrain(config, corpus, folder / "pass1")  # A later pass has not begun.
        raise TrainingStopped("no space left")

    pretrain = comparison.pretrain_passes
    monkeypatch.setattr(comparison, "pretrain_passes", stopped)
    recipe = recipes(tiny_corpus, tmp_path)[:1]
    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(TrainingStopped, match="no space left"):
        compare(recipe, seeds=1)
    monkeypatch.setattr(comparison, "pretrain_passes", pretrain)
    with contextlib.redirect_stderr(io.StringIO()):
        _, row = compare(recipe, seeds=1)["rows"]
    assert row["stopped"] is None
    assert row["processor_s"] is None, "a training that went on has no processor time of its own"


def test_minutes_become_the_hours_that_each_speed_allows(tiny_corpus, tmp_path, monkeypatch):
    seen = []

    def row(contender, place, known):
        seen.append((contender.recipe.name, contender.recipe.pretrain.seed, contender.recipe.pretrain.budget.hours))
        speed = 60.0 if contender.recipe.name.endswith("units") else 30.0
        return {"ranking": contender.ranking, "audio_hours_per_hour": speed}

    monkeypatch.setattr(comparison, "_row", row)
    monkeypatch.setattr(comparison, "_baseline", lambda recipe, known: {"ranking": None})
    rows = compare(recipes(tiny_corpus, tmp_path), seeds=2, minutes=2.0)["rows"]
    assert [row["ranking"] for row in rows] == [None, *["hours"] * 4, *["minutes"] * 4]
    assert [hours for *_, hours in seen] == [0.03] * 4 + [2.0, 1.0, 2.0, 1.0]
    assert [seed for _, seed, _ in seen] == [0, 0, 1, 1] * 2
    del seen[:]
    compare(recipes(tiny_corpus, tmp_path), seeds=2, minutes=2.0, minutes_seeds=1)
    assert [seed for _, seed, _ in seen] == [0, 0, 1, 1, 0, 0]


def test_other_settings_are_another_folder_and_threads_are_not(tiny_corpus, tmp_path):
    recipe = recipes(tiny_corpus, tmp_path)[0]
    engine = replace(recipe.pretrain.engine, threads=2)
    changes = (
        replace(recipe, pretrain=replace(recipe.pretrain, engine=engine)),
        replace(recipe, pretrain=replace(recipe.pretrain, seed=1)),
    )
    one, same, other = (comparison.Contender(recipe=item, ranking="hours").key for item in (recipe, *changes))
    assert one == same != other
    # Other units of the same encoder: measured again, not trained.
    one, other = (
        comparison.Contender(recipe=replace(recipe, units=replace(recipe.units, clusters=clusters)), ranking="hours")
        for clusters in (12, 13)
    )
    assert one.key == other.key
    assert one.measured != other.measured
    # And so does another split, or a corrected alignment.
    elsewhere = replace(one.recipe, corpus=replace(one.recipe.corpus, dev="test"))
    assert replace(one, recipe=elsewhere).measured != one.measured
    (tmp_path / "phones.tsv").write_bytes((tiny_corpus / "phones.tsv").read_bytes() + b"\n")
    corrected = replace(one.recipe, corpus=replace(one.recipe.corpus, phones=tmp_path / "phones.tsv"))
    assert replace(one, recipe=corrected).measured != one.measured


def test_recipes_of_other_units_are_refused(tiny_corpus, tmp_path):
    one, other = recipes(tiny_corpus, tmp_path)
    other = replace(other, units=replace(other.units, clusters=13))
    with pytest.raises(UsageError, match="same corpus and units"):
        compare([one, other], seeds=1)


def test_recipes_of_other_budgets_are_refused(tiny_corpus, tmp_path):
    one, other = recipes(tiny_corpus, tmp_path)
    longer = replace(other.pretrain, budget=replace(other.pretrain.budget, hours=9.0))
    with pytest.raises(UsageError, match=r"must have the same budget, but have .* audio-hours"):
        compare([one, replace(other, pretrain=longer)], seeds=1)


def test_recipes_of_one_name_are_refused(tiny_corpus, tmp_path):
    """A table would take them for seeds."""
    one, _ = recipes(tiny_corpus, tmp_path)
    other = replace(one, pretrain=replace(one.pretrain, batch=replace(one.pretrain.batch, batch_s=7.0)))
    for pair in ([one, one], [one, other]):
        with pytest.raises(UsageError, match=f"several are named {one.name}: they would be taken for seeds of one"):
            compare(pair, seeds=1)
