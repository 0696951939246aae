"""Commands that run stages of a recipe, ``run``, ``pretrain``, ``finetune``, ``reduction``, or several: ``compare``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import natural, positive

if TYPE_CHECKING:
    from speechunits.config import RecipeConfig

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

STAGES = ("data", "pretrain", "units", "pseudotext", "transcribe", "finetune", "reduction", "report", "summary")


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    whole = _add_recipe(commands, "run", "every stage of a recipe in turn; what is done is kept")
    whole.add_argument("--only", choices=STAGES, help="run this stage alone")
    whole.set_defaults(run=run_stages)

    pretrain = _add_recipe(commands, "pretrain", "pretrain an encoder on unlabelled speech; resumes by itself")
    pretrain.set_defaults(run=run_stages, only="pretrain")

    finetune = _add_recipe(commands, "finetune", "fine-tune one CTC recogniser on a label budget")
    finetune.add_argument(
        "--minutes", type=_label_budget, default=(), metavar="MINUTES|all",
        help="label budget in minutes, or all that train has (default: the recipe's headline)",
    )  # fmt: skip
    finetune.add_argument("--label-seed", type=natural, default=0, help="seed of the label list and the training")
    finetune.add_argument(
        "--side", choices=("pretrained", "untrained", "logmel", "units"), default="pretrained",
        help="what it starts from: the pretrained encoder (default), its architecture untrained, a small network on "
        "log-mel, or one that reads units",
    )  # fmt: skip
    finetune.set_defaults(run=run_finetune)

    reduction = _add_recipe(commands, "reduction", "how many times fewer labels the pretraining saved")
    reduction.add_argument(
        "--from-saved",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="RESULTS.json",
        help="recompute the table from saved results alone (default: results/NAME/results.json, else the run's)",
    )
    reduction.set_defaults(run=run_reduction)

    compare = commands.add_parser(
        "compare", help="pretrain with several recipes at one budget, units and figures of each"
    )
    compare.add_argument("recipes", nargs="+", metavar="RECIPE.yaml", help="and key=value, for all of them")
    compare.add_argument("--seeds", type=positive, default=1, help="trainings of each recipe (default: 1)")
    compare.add_argument(
        "--minutes", type=_minutes, help="each recipe once more, with what it trains on in so many minutes of one core"
    )
    compare.add_argument("--minutes-seeds", type=positive, help="seeds of that second ranking (default: all)")
    compare.add_argument(
        "-o", "--out", type=Path, required=True,
        help="folder of table.md, results.json, pnmi.png; its rows of the same settings are not trained again",
    )  # fmt: skip
    compare.set_defaults(run=run_compare, overrides=[])


def _add_recipe(commands: Commands, name: str, help_text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text)
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="such as those in recipes/")
    # Without a default of its own it would be named among what is required.
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="e.g. pretrain.budget.hours=2")
    return parser


def _label_budget(text: str) -> tuple[float | None]:
    """Return the minutes in a tuple, which nobody takes for a missing option: None is all of train."""
    minutes = None if text == "all" else _number(text)
    if minutes is not None and not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"must be minutes of labels, such as 6, or all, but is {text!r}")
    return (minutes,)


def _minutes(text: str) -> float:
    if not 0 < (minutes := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be minutes above 0, but is {text!r}")
    return minutes


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _recipe(options: argparse.Namespace) -> RecipeConfig:
    from speechunits.config import RecipeConfig, load_config

    return load_config(RecipeConfig, options.recipe, options.overrides)


def run_stages(options: argparse.Namespace) -> int:
    """Run all stages, or one."""
    from speechunits import pipeline

    refused = pipeline.run(_recipe(options), STAGES if options.only is None else (options.only,))
    return 1 if refused else 0


def run_finetune(options: argparse.Namespace) -> int:
    """Fine-tune one recogniser."""
    from speechunits import pipeline
    from speechunits.run import is_first_rank

    experiment = pipeline.Experiment(_recipe(options))
    headline = (experiment.recipe.reduction.headline_minutes,)
    (minutes,) = options.minutes or headline
    with experiment.folder.lock():
        pipeline.finetune_cell(experiment, options.side, minutes, options.label_seed)
    return 1 if experiment.refused and is_first_rank() else 0


def run_reduction(options: argparse.Namespace) -> int:
    """Run the sweep, or recompute its table from saved results."""
    from speechunits import pipeline, results

    recipe = _recipe(options)
    if options.from_saved is None:
        return 1 if pipeline.run(recipe, ("reduction",)) else 0
    saved = results.saved_results(recipe) if options.from_saved == Path() else options.from_saved
    results.show_reduction(saved, recipe, saved.parent)
    return 0


def run_compare(options: argparse.Namespace) -> int:
    """Compare recipes, and write what came out."""
    from speechunits.comparison import compare
    from speechunits.config import RecipeConfig, load_config
    from speechunits.errors import UsageError
    from speechunits.report.comparison import comparison_markdown, plot_comparison
    from speechunits.run import read_json, write_json, write_text

    overrides = [word for word in options.recipes if "=" in word] + options.overrides
    paths = [Path(word) for word in options.recipes if "=" not in word]
    if not paths:
        raise UsageError("name a recipe to compare, or several: the learners' are recipes/objectives/*.yaml")
    recipes = [load_config(RecipeConfig, path, overrides) for path in paths]
    saved = options.out / "results.json"
    try:
        published = read_json(saved) if saved.exists() else {"rows": ()}
    except ValueError as error:
        raise UsageError(f"{saved} is damaged ({error}); put it back, or name another folder with -o") from error
    if not isinstance(published, dict) or not all(isinstance(row, dict) for row in published.get("rows", [None])):
        raise UsageError(f"{saved} must hold a comparison, but holds other results; name another folder with -o")
    results = compare(
        recipes, seeds=options.seeds, minutes=options.minutes, minutes_seeds=options.minutes_seeds,
        published=published["rows"],
        on_row=lambda so_far: write_json(saved, so_far),
    )  # fmt: skip
    text = comparison_markdown(results)
    write_json(saved, results)
    write_text(options.out / "table.md", text)
    plot_comparison(results, options.out / "pnmi.png")
    print(text)
    return 0
