"""Tables, the same rows as Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from speechunits.evaluation.curves import PointSummary
from speechunits.evaluation.reduction import ReductionTable
from speechunits.evaluation.score import BASELINES, Side

if TYPE_CHECKING:
    from rich.table import Table

Row = Sequence[str]
Condition = tuple[str, Literal["", "equal"]]
"""Language model (empty: none) and what the baselines may compute."""
SIDES: Mapping[Side, str] = {
    "pretrained": "pretrained",
    "untrained": "same encoder, untrained",
    "logmel": "small log-mel network",
    "units": "small network that reads units",
}
QUALITY_HEADER = ("units", "K", "layer", "PNMI %", "corrected %", "with silence %", "bits a frame",
                  "active")  # fmt: skip


def markdown(header: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def rich_table(header: Row, rows: Sequence[Row], title: str = "") -> Table:
    """Return the same table for a terminal."""
    from rich.table import Table  # noqa: PLC0415 - only where something is shown
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def reduction_rows(table: ReductionTable, rate: str = "CER") -> tuple[Row, list[Row]]:
    """Return header and rows: a row a label budget, CER of each side in percent, the factor with its interval.

    ``rate`` is what error rates are called: CER, or PER where phones are recognised.
    """
    sides = [side for side in SIDES if any(point.side == side for point in table.points)]
    points = {(point.side, point.label): point for point in table.points}
    labels = sorted({(point.minutes, point.label) for point in table.points})
    # "all" may hold slightly different minutes on the two sides: one row all the same.
    labels = [item for index, item in enumerate(labels) if item[1] not in [other[1] for other in labels[:index]]]
    # Of one baseline alone nothing was chosen.
    chosen = {
        label: side for label, side in table.baseline.chosen if all((name, label) in points for name in BASELINES)
    }
    cells = {cell.label: cell for cell in table.cells}
    rows: list[Row] = []
    for minutes, label in labels:
        row = [f"all ({minutes:.0f} min)" if label == "all" else f"{label} min"]
        for side in sides:
            text = _cer(points.get((side, label)))
            row.append(f"{text} *" if chosen.get(label) == side else text)
        row.append(str(cells[label]) if label in cells else "")
        rows.append(row)
    return ("labels", *(f"{rate} %, {SIDES[side]}" for side in sides), "times fewer labels (95 %)"), rows


def reduction_markdown(
    table: ReductionTable, others: Mapping[Condition, ReductionTable] | None = None,
    tuning: Mapping[Side, Sequence[Mapping[str, Any]]] | None = None, audio_hours: float | None = None,
    *, rounds: int = 0, rate: str = "CER", minutes: Mapping[Side, float] | None = None,
) -> str:  # fmt: skip
    """Return the table, its legend, and the result in one sentence.

    ``others`` are the tables of language models and of equal compute, by ``(lm, compute)``: a row of the headline each.
    ``tuning`` are the trials of each side, as ``results.json`` has them; ``audio_hours`` is what a training heard,
    in all of its ``rounds`` of self-training too; ``rate`` is what error rates are called; ``minutes`` of wall clock
    are what one of each side took.
    """
    header, rows = reduction_rows(table, rate)
    lines = [markdown(header, rows), ""]
    if any("*" in cell for row in rows for cell in row):
        lines.append("\\* the baseline at this budget: the better one on `tune`.")
    lines.append(f"{rate}: mean over seeds, lowest and highest in brackets. No language model.")
    if rounds:
        lines.append(self_training_note(rounds))
    if audio_hours is not None:
        lines.append(f"Every training heard {audio_hours:g} audio-hours: a side that settles later would gain by more.")
    if minutes:
        took = ", ".join(f"{SIDES[side]} {minutes[side]:.1f}" for side in SIDES if side in minutes)
        lines.append(f"Minutes of wall clock a training, on average: {took}.")
    lines += [f"Note: {note}." for note in table.notes]
    lines += [f"{reason}." for reason in reasons(table)]
    if others:
        lines += ["", markdown(*headline_rows({("", ""): table, **others}, rate))]
        lines.append("The headline's budget under other conditions; weight and bonus of a model are chosen on `tune`.")
    if tuning:
        lines += ["", markdown(*tuning_rows(tuning))]
        lines.append(tuning_legend(tuning, audio_hours, rate))
    lines += ["", f"**Result: {table.statement}.**", ""]
    return "\n".join(lines)


def self_training_note(rounds: int) -> str:
    """Return what ``rounds`` of self-training mean for a table."""
    times = "once" if rounds == 1 else f"{rounds} times"
    return (
        f"Self-training: every recogniser labelled unlabelled recordings and was trained again, {times}: no factor of "
        "labels alone."
    )


def reasons(table: ReductionTable) -> list[str]:
    """Return why budgets beside the headline's have no factor, budgets of one reason together."""
    budgets: dict[str, list[str]] = {}
    for cell in table.cells:
        if cell.reason and cell is not table.headline:
            budgets.setdefault(cell.reason, []).append("all labels" if cell.label == "all" else f"{cell.label} min")
    return [f"{', '.join(named)}: {reason}" for reason, named in budgets.items()]


def condition_name(lm: str, compute: str) -> str:
    """Return in words what error rates were measured with: a language model or none, and what baselines computed."""
    names = {
        "": "no language model",
        "own": "n-gram on the budget's own transcripts",
        "text": "n-gram on declared text",
    }
    return names.get(lm, lm) + (", baselines with pretraining's FLOPs" if compute else "")


def headline_rows(tables: Mapping[Condition, ReductionTable], rate: str = "CER") -> tuple[Row, list[Row]]:
    """Return header and a row for each condition ``(lm, compute)``: CER at the headline budget, and the factor."""
    rows: list[Row] = []
    for (lm, compute), table in tables.items():
        cell = table.headline
        points = {(point.side, point.label): point for point in table.points}
        chosen = dict(table.baseline.chosen)
        label = cell.label if cell is not None else ""
        rows.append(
            (
                condition_name(lm, compute),
                _cer(points.get(("pretrained", label))),
                _cer(points.get((chosen[label], label))) if label in chosen else "–",
                "–" if cell is None else str(cell) if not cell.reason else f"{cell} ({cell.reason})",
            )
        )
    header = ("at the headline budget", f"{rate} %, pretrained", f"{rate} %, baseline", "times fewer labels (95 %)")
    return header, rows


def tuning_rows(tuning: Mapping[Side, Sequence[Mapping[str, Any]]]) -> tuple[Row, list[Row]]:
    """Return header and rows of the tuning trials: a row for each budget and values, a column for each side."""
    # Where a value is not tried every side keeps its own. Earlier versions tried no masks, and wrote none down.
    tried = [
        name for name in ("dropout", "lr", "masks")
        if name == "dropout" or any(len({str(t.get(name)) for t in trials}) > 1 for trials in tuning.values())
    ]  # fmt: skip
    columns = {
        side: {", ".join([_budget(trial), *(_TRIED[name](trial[name]) for name in tried)]): trial for trial in trials}
        for side, trials in tuning.items()
    }
    rows: list[Row] = []
    for name in dict.fromkeys(key for column in columns.values() for key in column):
        row = [name]
        for column in columns.values():
            trial = column.get(name)
            row.append("–" if trial is None else f"{100 * trial['tune_cer']:.1f}{' *' if trial['chosen'] else ''}")
        rows.append(row)
    return ("tried", *(SIDES[side] for side in tuning)), rows


_TRIED: Mapping[str, Callable[[Any], str]] = {
    "dropout": "dropout {:g}".format, "lr": "rate {:g}".format,
    "masks": lambda masks: "no masks" if not any(masks) else f"{masks[0]} + {masks[1]} masks",
}  # fmt: skip


def _budget(trial: Mapping[str, Any]) -> str:
    return "all labels" if trial["minutes"] is None else f"{trial['minutes']:g} min"


def tuning_legend(
    tuning: Mapping[Side, Sequence[Mapping[str, Any]]], audio_hours: float | None, rate: str = "CER"
) -> str:
    """Return the legend of the trials, which may have heard less than the trainings they chose for."""
    heard = {trial.get("audio_hours", audio_hours) for trials in tuning.values() for trial in trials}
    apart = heard != {audio_hours}
    hours = " and ".join(f"{each:g}" for each in heard if each is not None)
    return (
        f"What every side tried with seed 0{f', {hours} audio-hours a trial' if apart else ''}: {rate} % on `tune`; "
        f"\\* is what trained the budget's {'' if apart else 'other '}seeds."
    )


def quality_rows(quality: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return a row for each measured units bundle (name to the measures of ``evaluate units``); missing ones are –."""
    rows: list[Row] = []
    for name, measured in quality.items():
        clean = measured.get("without_silence") or {}
        full = measured.get("with_silence") or {}
        rows.append(
            (
                name,
                _text(measured.get("clusters"), "{}"),
                _text(measured.get("layer"), "{}"),
                _text(clean.get("pnmi"), "{:.1%}"),
                _text(clean.get("pnmi_corrected"), "{:.1%}"),
                _text(full.get("pnmi"), "{:.1%}"),
                _text(measured.get("predictable_bits_a_frame"), "{:.2f}"),
                _text(measured.get("active"), "{}"),
            )
        )
    return rows


def quality_markdown(quality: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Markdown table of :func:`quality_rows`."""
    return markdown(QUALITY_HEADER, quality_rows(quality))


def _cer(point: PointSummary | None) -> str:
    if point is None:
        return "–"
    text = f"{100 * point.cer:.1f}"
    if len(point.cers) > 1:
        text += f" ({100 * min(point.cers):.0f}–{100 * max(point.cers):.0f})"
    return f"{text}, {point.all_blank} all-blank" if point.all_blank else text


def _text(value: object, form: str) -> str:
    return "–" if value is None else form.format(value).removesuffix("%")
