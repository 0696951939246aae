"""Recipes: presets, overrides, and every fault at once."""

import typing
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import pytest

from speechunits.config import (
    EncoderConfig,
    PretrainConfig,
    RecipeConfig,
    ReductionConfig,
    build_config,
    load_config,
    to_tree,
)
from speechunits.errors import UsageError

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def write(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_differences_only(tmp_path):
    path = write(
        tmp_path, "name: x\ncorpus: {manifest: m.tsv}\npretrain: {budget: {hours: 2}, encoder: {size: small}}\n"
    )
    recipe = load_config(
        RecipeConfig, path, ["pretrain.seed=3", "pretrain.encoder.dropout=0", "pretrain.optimizer.lr=3e-4"]
    )
    assert recipe.pretrain.budget.hours == 2.0
    assert recipe.pretrain.seed == 3
    assert recipe.pretrain.optimizer.lr == 3e-4
    assert recipe.pretrain.encoder.dim == 256, "the preset of `small`"
    assert recipe.pretrain.encoder.dropout == 0.0
    assert recipe.corpus.manifest == Path("m.tsv")
    assert recipe.pretrain.mask == PretrainConfig().mask


def test_a_section_that_is_there_twice_is_no_section(tmp_path):
    text = "name: x\ncorpus: {manifest: m.tsv}\npretrain: {learner: simclr}\nunits: {seed: 1}\npretrain: {seed: 1}\n"
    with pytest.raises(
        UsageError, match=r"not valid YAML: the key 'pretrain' is there twice\s+in .*, line 1, column 1"
    ):
        load_config(RecipeConfig, write(tmp_path, text))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("010", 10), ("1_000", 1000), ("-0", 0), ("+7", 7)],
)
def test_numbers_are_decimal(tmp_path, written, meant):
    path = write(tmp_path, f"name: 2026-12-01\ncorpus: {{manifest: m.tsv}}\npretrain: {{seed: {written}}}\n")
    recipe = load_config(RecipeConfig, path, [f"units.seed={written}"])
    assert (recipe.pretrain.seed, recipe.units.seed) == (meant, meant)
    assert recipe.name == "2026-12-01"


@pytest.mark.parametrize("word", ["no", "yes", "on", "Off", "n", "y"])
def test_words_are_words(tmp_path, word):
    path = write(tmp_path, f"name: {word}\ncorpus: {{manifest: m.tsv}}\n")
    assert load_config(RecipeConfig, path).name == word
    with pytest.raises(UsageError, match=f"corpus.strip_marks: must be true or false, but is '{word}' instead"):
        load_config(RecipeConfig, path, [f"corpus.strip_marks={word}"])


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("True", True), ("FALSE", False)])
def test_true_and_false(tmp_path, written, meant):
    path = write(tmp_path, f"name: x\ncorpus: {{manifest: m.tsv, strip_marks: {written}}}\n")
    assert load_config(RecipeConfig, path).corpus.strip_marks is meant


@pytest.mark.parametrize("written", ["3e-4", "3.0e-4", ".0003", "+3E-04", "0_0.0003"])
def test_every_usual_way_to_write_a_fraction(tmp_path, written):
    path = write(tmp_path, f"name: x\ncorpus: {{manifest: m.tsv}}\npretrain: {{optimizer: {{lr: {written}}}}}\n")
    assert load_config(RecipeConfig, path).pretrain.optimizer.lr == 3e-4


def test_a_field_beside_a_preset_overrides_it():
    assert build_config(EncoderConfig, {"size": "small", "layers": 2}).layers == 2


def test_default_preset_is_what_the_defaults_say():
    assert build_config(EncoderConfig, {}) == EncoderConfig()


def test_every_fault_at_once(tmp_path):
    text = (
        "nmae: x\ncorpus: {manifest: 3}\n"
        "pretrain: {budget: {hours: many}, learner: cpv, seed: 1.5, batch: {crop_s: 30}}\n"
    )
    with pytest.raises(UsageError) as caught:
        load_config(RecipeConfig, write(tmp_path, text))
    message = str(caught.value)
    for expected in ("nmae: unknown key", "corpus.manifest: must be a path", "pretrain.budget.hours: must be a number",
                     "pretrain.learner: must be one of wav2vec2", "pretrain.seed: must be a whole number", "crop_s",
                     "name: missing"):  # fmt: skip
        assert expected in message


def test_a_partial_section_keeps_the_defaults_of_the_section_around_it():
    config = build_config(ReductionConfig, {"untrained": {"batch": {"batch_s": 3}}})
    default = ReductionConfig()
    assert config.untrained.batch.batch_s == 3.0
    assert config.untrained.batch.crop_s == default.untrained.batch.crop_s == 20.0
    assert (config.untrained.side, config.untrained.frozen) == ("untrained", 0.0)


def test_values_are_checked_beyond_their_types():
    with pytest.raises(UsageError, match=r"dim must be a multiple of heads, but is 190"):
        build_config(EncoderConfig, {"dim": 190, "heads": 4})


@pytest.mark.parametrize(("text", "expected"), [("[1, 2]", "must be a mapping"), ("a: [", "not valid YAML")])
def test_what_is_no_recipe(tmp_path, text, expected):
    with pytest.raises(UsageError, match=expected):
        load_config(RecipeConfig, write(tmp_path, text))


def test_a_missing_recipe_and_a_bad_override(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_config(RecipeConfig, tmp_path / "absent.yaml")
    path = write(tmp_path, "name: x\ncorpus: {manifest: m.tsv}\n")
    with pytest.raises(UsageError, match="key=value"):
        load_config(RecipeConfig, path, ["seed"])
    with pytest.raises(UsageError, match="is a value, not a section"):
        load_config(RecipeConfig, path, ["name.length=2"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pretrain.budget.hours=.inf", "pretrain.budget.hours: must be a finite number"),
        ("pretrain.budget.hours=.nan", "pretrain.budget.hours: must be a finite number"),
        ("name=[1", "its value is not valid YAML"),
        ("pretrain.seed=-1", "seed must be at least 0"),
        ("units.seed=-1", "seed must be at least 0"),
        ("units.restarts=0", "restarts must be at least 1"),
        ("reduction.finetune.seed=-1", "seed must be at least 0"),
        ("pretrain.budget.hours=1e400", "pretrain.budget.hours: must be a finite number, but is inf"),
        (f"pretrain.budget.hours=1{400 * '0'}", "pretrain.budget.hours: must be a finite number"),
        ("reduction.tuning.lr=[1e-3,1e999]", r"reduction.tuning.lr\[1\]: must be a finite number"),
        ("pretrain.budget.hours=0", "pretrain.budget: hours must be above 0, but is 0.0 instead"),
        ("pretrain.budget.minutes=0", "minutes must be above 0"),
        ("pretrain.batch.batch_s=0", "batch_s must be above 0"),
        ("pretrain.optimizer.lr=0", "lr must be above 0"),
        ("pretrain.optimizer={lr: -1, epsilon: 0}", "lr must be above 0, but is -1.0 instead; epsilon must be above 0"),
        ("pretrain.optimizer.betas=[0.9,1]", r"betas must be within \[0, 1\), but is \[0.9, 1.0\] instead"),
        ("pretrain.optimizer={warmup: 0.8, hold: 0.8}", "warmup and hold must be shares that sum to at most 1"),
        ("reduction.logmel.optimizer.lr=-1", "reduction.logmel.optimizer: lr must be above 0"),
        ("reduction.logmel.dropout=2", r"reduction.logmel: dropout must be within \[0, 1\)"),
        ("reduction.finetune.augment.speed=[]", "speed must name at least one factor"),
        ("pretrain.encoder.dropout=2", r"dropout must be within \[0, 1\)"),
        ("pretrain.encoder.heads=0", "heads must be at least 1"),
        ("pretrain.encoder.layers=0", "layers must be at least 1"),
        ("pretrain.mask.start_prob=1.5", r"start_prob must be within \[0, 1\]"),
        ("pretrain.masked_prediction.altered=7", r"altered must be within \[0, 1\]"),
        (
            "pretrain={learner: masked_prediction, masked_prediction: {targets: online, teacher: {layers: 5}}}",
            "teacher.layers must be at most the encoder's 4, but is 5",
        ),
        ("pretrain.wav2vec2.quantizer.temperature_decay=1.1", r"temperature_decay must be within \(0, 1\]"),
        ("pretrain.views.crop=0", r"crop must be within \(0, 1\]"),
        ("pretrain.views.dropped_s=-3", "dropped_s must be at least 0, but is -3.0 instead"),
        ("pretrain.direct_mi.symbols=1", r"symbols must be at least 2 \(one symbol says nothing\), but is 1 instead"),
        ("pretrain.swav.prototypes=1", "prototypes must be at least 2"),
        ("pretrain.masked_prediction.clusters=1", "clusters must be at least 2"),
        ("pretrain.masked_prediction.teacher.codewords=1", "codewords must be at least 2"),
        ("pretrain.wav2vec2.quantizer.entries=1", "entries must be at least 2"),
        ("units.clusters=1", "clusters must be at least 2 .*, but is 1: one unit says nothing"),
        ("reduction.finetune.side=logmel", "finetune.side must be pretrained, but is logmel: a section trains its own"),
        ("reduction.untrained.side=pretrained", "untrained.side must be untrained, but is pretrained"),
        ("units.layer=-2", "layer must be at least -1"),
        ("units.layer=atuo", "units.layer: must be auto or a whole number, but is 'atuo' instead"),
        ("pretrain.masked_prediction.target_layer=atuo", "target_layer: must be auto or a whole number, but is 'atuo'"),
        ("units.source=kmean", "units.source: must be one of kmeans, codebook, mfcc, but is 'kmean' instead"),
        ("units.criterion=predictable", "units.criterion: must be one of .*predictability, view_abx, speaker, but is"),
        ("pseudotext.model=bpee", "pseudotext.model: must be one of unigram, bpe, but is 'bpee' instead"),
        ("pretrain.views.dropped_hz=8000", r"dropped_hz must be within \[0, 8000\), all there is at 16 kHz"),
        (
            "reduction.untrained.encoder.size=medium",
            "untrained.encoder must not be set: the untrained side has the enc",
        ),
        ("reduction.finetune.seed=2", "finetune.seed must be 0, but is 2: every training has its own"),
        ("pretrain.budget.minutes=1:30", "pretrain.budget.minutes: must be a number, but is '1:30' instead"),
        ("pretrain.optimizer={lr: 1, lr: 2}", "its value is not valid YAML .the key 'lr' is there twice"),
        ("synth={hours: 0, voices: 2}", "hours must be above 0, but is 0.0 instead; voices must be at least 3"),
    ],
)
def test_values_that_no_run_can_use(tmp_path, override, said):
    path = write(tmp_path, "name: x\ncorpus: {manifest: m.tsv}\n")
    with pytest.raises(UsageError, match=said):
        load_config(RecipeConfig, path, [override])


ANY_SIGN = ["pretrain.views.snr_db", "reduction.language.bonuses"]


def numbers(kind, where=""):
    """Yield the places of all numbers of a configuration, each with one that is far too low."""
    hints = typing.get_type_hints(kind)
    for each in fields(kind):
        place = f"{where}.{each.name}".removeprefix(".")
        kinds = {hints[each.name], *typing.get_args(hints[each.name])}
        if section := next((own for own in kinds if is_dataclass(own)), None):
            yield from numbers(section, place)
        elif kinds & {int, float}:
            yield pytest.param(place, "[-7, -7]" if "tuple" in str(hints[each.name]) else "-7", id=place)


@pytest.mark.parametrize(("place", "value"), list(numbers(RecipeConfig)))
def test_no_number_of_a_recipe_goes_unchecked(tmp_path, place, value):
    path = write(tmp_path, "name: x\ncorpus: {manifest: m.tsv}\n")
    if place in ANY_SIGN:
        assert load_config(RecipeConfig, path, [f"{place}={value}"])
        return
    with pytest.raises(UsageError, match=rf"{place.rpartition('.')[2]}\b.* must "):
        load_config(RecipeConfig, path, [f"{place}={value}"])


@pytest.mark.parametrize(
    "override",
    [
        "reduction.finetune.encoder_lr_scale=0", "reduction.finetune.frozen=0", "pretrain.wav2vec2.unmasked_weight=0",
        "pretrain.encoder.layers=1", "pretrain.budget.minutes=null", "pretrain.engine.checkpoint_minutes=0",
        "pretrain.optimizer={warmup: 0.3, hold: 0.7, final_scale: 0}", "units.layer=-1", "units.clusters=0",
        "pretrain.encoder.dropout=0", "pretrain.masked_prediction.altered=1", "pretrain.mask.min_spans=0",
    ],
)  # fmt: skip
def test_the_ends_of_ranges_are_in_them(tmp_path, override):
    assert load_config(RecipeConfig, write(tmp_path, "name: x\ncorpus: {manifest: m.tsv}\n"), [override])


def test_not_utf8(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: señor".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        load_config(RecipeConfig, path)


@dataclass(frozen=True, kw_only=True)
class Pair:
    both: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    maybe: int | None = None
    either: int | str = "auto"
    nested: EncoderConfig = field(default_factory=EncoderConfig)


def test_tuples_and_unions():
    pair = build_config(Pair, {"both": [1, 2], "many": [3], "maybe": None, "either": 7})
    assert (pair.both, pair.many, pair.maybe, pair.either) == ((1.0, 2.0), (3,), None, 7)
    with pytest.raises(UsageError, match="must have 2 items, but has 1"):
        build_config(Pair, {"both": [1]})
    with pytest.raises(UsageError, match="either"):
        build_config(Pair, {"either": [1]})


def test_to_tree_is_the_inverse():
    config = build_config(Pair, {"both": [1, 2], "nested": {"size": "small", "layers": 3}})
    assert build_config(Pair, to_tree(config)) == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_of_the_project_load(path):
    assert load_config(RecipeConfig, path).name


def test_the_objectives_differ_in_their_method_alone():
    """One encoder (causal where the method asks for it), one corpus, one budget, one optimiser."""
    trees = [to_tree(load_config(RecipeConfig, path)) for path in RECIPES if path.parent.name == "objectives"]
    assert len(trees) == 9
    methods = ("learner", "wav2vec2", "cpc", "simclr", "swav", "direct_mi", "masked_prediction", "views")
    for tree in trees:
        del tree["name"]
        for name in methods:
            del tree["pretrain"][name]
        for name in ("causal", "input_norm", "context"):
            tree["pretrain"]["encoder"].pop(name, None)
    assert all(tree == trees[0] for tree in trees)


def test_one_folder_of_decoded_audio_for_all_trainings_of_a_recipe():
    tree = {
        "name": "x", "corpus": {"manifest": "m.tsv"}, "cache_dir": "runs/cache",
        "pretrain": {"batch": {"cache_dir": "own"}},
    }  # fmt: skip
    recipe = build_config(RecipeConfig, tree)
    assert recipe.pretrain.batch.cache_dir == Path("own")
    sides = [getattr(recipe.reduction, side) for side in ("finetune", "untrained", "logmel", "units")]
    assert {side.batch.cache_dir for side in sides} == {Path("runs/cache")}
    assert sides[0].batch.batch_s == ReductionConfig().finetune.batch.batch_s
    assert build_config(RecipeConfig, to_tree(recipe)) == recipe
    del tree["cache_dir"], tree["pretrain"]
    plain = build_config(RecipeConfig, tree)
    assert plain.pretrain.batch.cache_dir is None
    assert "cache_dir" not in str(to_tree(plain))
