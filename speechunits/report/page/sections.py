"""What each section of the page shows, as plain values for its template."""

from __future__ import annotations

from statistics import median
from typing import Any

from speechunits.evaluation.reduction import ReductionTable, reduction
from speechunits.evaluation.score import scores_from_json
from speechunits.report.page.figures import duration_figure, heat_map, learning_figure, reduction_figure
from speechunits.report.page.listening import unit_clips
from speechunits.report.page.marking import letter_errors
from speechunits.report.page.measures import measure_table
from speechunits.report.page.run_files import Absent, RunFiles
from speechunits.report.page.study import Study
from speechunits.report.tables import (
    QUALITY_HEADER,
    condition_name,
    quality_rows,
    reasons,
    reduction_rows,
    self_training_note,
)

CONFUSED_UNITS = 12
LETTER_ERRORS = 20


def facts(run: RunFiles, study: Study) -> list[tuple[str, str]]:
    """Return what made the run, in a few words."""
    config, found = run.config, []
    pretrain = config.get("pretrain", {})
    if pretrain:
        size = pretrain.get("encoder", {}).get("size", "")
        hours = pretrain.get("budget", {}).get("hours", "?")
        found.append(("pretraining", f"{pretrain.get('learner', '?')}, {size} encoder, {hours} hours of audio seen"))
    if run.corpus is not None:
        minutes: dict[str, float] = {}
        for row in run.corpus.recordings:
            minutes[row.split or ""] = minutes.get(row.split or "", 0.0) + row.duration_s / 60
        found.append(("minutes of speech", ", ".join(f"{name} {value:.0f}" for name, value in minutes.items())))
    if study.clusters:
        found.append(("units", f"{study.clusters}, computed here for {study.minutes:.0f} min of {run.split}"))
    keys = ("version", "commit", "manifest_sha256")
    found += [(key.replace("_", " "), str(run.recipe[key])[:16]) for key in keys if run.recipe.get(key)]
    return found


def factor_parts(run: RunFiles) -> dict[str, Any]:
    """Return the reduction tables, without a language model first, and the curve."""
    tables: list[dict[str, Any]] = []
    figure, statement = None, ""

    def compute() -> list[tuple[str, ReductionTable]]:
        scores = scores_from_json((run.results or {})["scores"])
        smoke = bool(run.config.get("smoke", False))
        conditions = sorted({(score.lm, score.compute) for score in scores})
        return [(condition_name(lm, equal) if lm or equal else "",
                 reduction(scores, run.reduction, split=run.split, lm=lm, compute=equal, smoke=smoke))
                for lm, equal in conditions]  # fmt: skip

    computed = run.attempt("the reduction factor", "remake results.json", compute) if run.results else None
    for condition, table in computed or []:
        sentence = f"{table.statement[:1].upper()}{table.statement[1:]}."
        header, rows = reduction_rows(table, run.rate)
        notes = [*_self_training(run), *table.notes, *reasons(table)]
        tables.append({"condition": condition, "header": header, "rows": rows, "notes": notes, "statement": sentence})
        if not condition:
            statement, figure = sentence, reduction_figure(table, run.rate)
    if not statement:
        statement = tables[0]["statement"] if tables else "No reduction factor has been measured in this run."
    return {"statement": statement, "reductions": tables, "reduction_figure": figure}


def _self_training(run: RunFiles) -> list[str]:
    rounds = run.finetuning.get("self_training", {}).get("rounds", 0)
    return [self_training_note(rounds)] if rounds else []


def learning_parts(run: RunFiles) -> dict[str, Any]:
    """Return the learning curves, and the last held-out figures of each pass."""
    last = {name or "pretraining": held[-1] for name, rows in run.passes
            if (held := [row for row in rows if row.get("kind") == "held_out"])}  # fmt: skip
    if run.passes and not last:
        run.absent.append(Absent(what="held-out figures", why="pretraining has not come to its first evaluation yet"))
    dropped = ("kind", "step", "wall_s")
    shown = {name: {key: value for key, value in row.items() if key not in dropped} for name, row in last.items()}
    header, rows = measure_table(shown) if shown else ([], [])
    return {"learning_figure": learning_figure(run.passes), "learning_header": header, "learning_rows": rows}


def measurement_parts(run: RunFiles) -> dict[str, Any]:
    """Return unit quality, bits, and the further measurements."""
    header, rows = measure_table(run.quality) if run.quality else ([], [])
    return {
        "quality_header": QUALITY_HEADER, "quality_rows": quality_rows(run.quality) if run.quality else [],
        "bits_header": header, "bits_rows": rows,
        "evaluations": [(name.replace("_", " "), *measure_table(content)) for name, content in run.evaluations],
    }  # fmt: skip


def unit_parts(run: RunFiles, study: Study) -> dict[str, Any]:
    """Return the heat map, durations, the units, the most confused ones with examples, and the commonest errors."""
    rows = study.rows() if study.phones and study.units else []
    confused = sorted(rows, key=lambda row: (-row.confusion_bits, row.unit))[:CONFUSED_UNITS]
    clips = None
    if rows:
        clips = run.attempt("examples of units", "check the recordings", lambda: unit_clips(confused, study))
    if study.units and not rows:
        run.absent.append(Absent(what="units against phones", why="no phone alignment; give --phones PHONES.tsv"))
    return {
        "heat_map": heat_map(study) if rows else None,
        "duration_figure": duration_figure(study) if study.units else None,
        "duration_text": _durations(study),
        "unit_rows": rows, "confused": clips or [], "total_confusion": sum(row.confusion_bits for row in rows),
        "letters": _letters(run),
    }  # fmt: skip


def _durations(study: Study) -> str:
    units, phones = study.unit_durations_s(), study.phone_durations_s()
    words = [f"the median {name} lasts {1000 * median(found):.0f} ms"
             for name, found in (("run of a unit", units), ("phone", phones)) if found]  # fmt: skip
    return " and ".join(words)


def _letters(run: RunFiles) -> list[tuple[str, str, int]]:
    """Return the commonest errors of the first hypotheses: said, written, how often."""
    if not run.hypotheses or run.corpus is None:
        return []
    texts = {row.id: row.text for row in run.corpus.recordings if row.text}
    pairs = ((texts[name], text) for name, text in run.hypotheses[0][1].items() if name in texts)
    counts = letter_errors(pairs, spaced=run.spaced)
    return [(said, written, count) for (said, written), count in counts.most_common(LETTER_ERRORS)]
