"""Tables of ABX and probes: a row a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechunits.report.tables import Row, markdown


def abx_markdown(measured: Mapping[str, Any]) -> str:
    """Return the table of ``evaluate abx`` with a line that says how it was measured."""
    table: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for score in measured["scores"]:
        key = (score["source"], score["layer"], score["distance"])
        table.setdefault(key, {})[score["speaker"]] = score
    speakers = measured["settings"]["speakers"]
    rows: list[Row] = [
        (source, layer or "–", distance, *(_percent(found.get(speaker)) for speaker in speakers))
        for (source, layer, distance), found in table.items()
    ]
    settings, items = measured["settings"], measured["items"]
    counts = ", ".join(
        f"{speaker} {score['triples']:,} triples of {score['pairs']:,} ordered pairs"
        for speaker, score in next(iter(table.values())).items()
    )
    missing = "".join(f"\n{reason}.\n" for reason in measured.get("missing", {}).values())
    drawn = "all" if settings["max_group"] is None else f"at most {settings['max_group']} a phone and speaker"
    return (
        markdown(("features", "layer", "distance", *(f"ABX %, {speaker} speaker" for speaker in speakers)), rows)
        + f"\n{settings['span']} items, {settings['context']} context, {drawn}: {items['with_frames']:,} items of "
        f"{items['recordings']} recordings; {counts}. Seed {settings['seed']}, speechunits {measured['version']} "
        f"({measured['commit']}){', last frames dropped' if settings['drop_last_frame'] else ''}.\n" + missing
    )


def _percent(score: Mapping[str, Any] | None) -> str:
    return "–" if score is None else f"{100 * score['error']:.2f}"


def probe_markdown(measured: Mapping[str, Any]) -> str:
    """Return the table of ``evaluate probe``: accuracies in percent, the cheap rows first."""
    labels = {name: found for name, found in measured["labels"].items() if "rows" in found}
    rows: list[list[str]] = [
        ["chance", "–", *(f"{100 * found['chance']:.1f}" for found in labels.values())],
        ["majority class", "–", *(f"{100 * found['majority']:.1f}" for found in labels.values())],
    ]
    for column in zip(*(found["rows"] for found in labels.values()), strict=True):
        cells = [f"{100 * row['accuracy']:.1f} ± {100 * row['spread']:.1f}" for row in column]
        rows.append([column[0]["source"], column[0]["layer"] or "–", *cells])
    heads = [f"{name} % ({found['classes']} classes)" for name, found in labels.items()]
    notes = [
        f"{name}: skipped, {found['skipped']}." for name, found in measured["labels"].items() if "skipped" in found
    ]
    settings = measured["settings"]
    notes.append(
        f"Accuracy, mean ± spread over {len(settings['seeds'])} seeds; {measured['divided']}; at most "
        f"{settings['fit_examples']:,} examples to fit, {settings['test_examples']:,} to test; l2 {settings['l2']:g}; "
        f"speechunits {measured['version']} ({measured['commit']})."
    )
    return markdown(("features", "layer", *heads), rows) + "\n" + "\n".join(notes) + "\n"
