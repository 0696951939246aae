"""The last screen of an experiment: what happened, for somebody who sees it for the first time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from speechunits.evaluation.reduction import ReductionTable
from speechunits.evaluation.score import BASELINES
from speechunits.report.alignment import LABELS, AlignedSentence, aligned_blocks
from speechunits.report.tables import QUALITY_HEADER, quality_rows, reduction_rows, rich_table

_LABEL_WIDTH = 9
_MAX_BLOCKS = 3
"""Longer sentences are cut: the screen shows what units are, not all of them."""


class _Alignment:
    """The aligned sentence, laid out once the width of the terminal is known."""

    def __init__(self, sentence: AlignedSentence) -> None:
        self.sentence = sentence

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        blocks = aligned_blocks(self.sentence, options.max_width - _LABEL_WIDTH)
        for lines in blocks[:_MAX_BLOCKS]:
            for label, line, style in zip(LABELS, lines, ("dim", "cyan", "green"), strict=True):
                yield Text.assemble((f"{label:<{_LABEL_WIDTH}}", "dim"), (line.rstrip(), style), no_wrap=True)
        if len(blocks) > _MAX_BLOCKS:
            yield Text("… and so on to the end of the sentence", style="dim")


def summary_screen(
    *,
    example: AlignedSentence | None = None,
    quality: Mapping[str, Mapping[str, Any]] | None = None,
    reduction: ReductionTable | None = None,
    rate: str = "CER",
    folder: Path | None = None,
    next_steps: Sequence[tuple[str, str]] | None = None,
) -> RenderableType:
    """Return the screen; parts that are missing are left out.

    Parameters
    ----------
    example
        A sentence with its phones and units.
    quality
        Measures of units bundles by name, as ``evaluate units`` writes them; a row of MFCC k-means among them.
    reduction
        The sweep's table.
    rate
        What its error rates are called: CER, or PER where phones are recognised.
    folder
        The run folder, named in what to try next.
    next_steps
        (what, command) pairs in place of the usual ones.
    """
    parts: list[RenderableType] = []
    if example is not None:
        parts += _section("A sentence nobody trained on: its phones, and the units found without labels")
        parts += [Text(f"“{example.text}”", style="bold"), _Alignment(example)]
    if quality:
        parts += _section("How much the units say about the phones")
        parts += [rich_table(QUALITY_HEADER, quality_rows(quality)), Text(_quality_words(quality), style="dim")]
    if reduction is not None:
        counted = "phones" if rate == "PER" else "characters"
        parts += _section(f"Recognition from few labels: wrong {counted} in a hundred")
        parts.append(rich_table(*reduction_rows(reduction, rate)))
        if {point.side for point in reduction.points}.issuperset(BASELINES):
            parts.append(Text("* the better baseline on held-out training speech", style="dim"))
        statement = reduction.statement[:1].upper() + reduction.statement[1:] + "."
        style = "bold green" if reduction.headline is not None and reduction.headline.factor else "bold yellow"
        parts += [Text(), Panel(Text(statement, style=style), title="the reduction factor", expand=False)]
        parts += [Text(f"note: {note}", style="dim") for note in reduction.notes]
    parts += _section("What to try next")
    steps = next_steps if next_steps is not None else _steps(folder)
    for what, command in steps:
        parts += [Text(what), Text(f"    {command}", style="cyan", no_wrap=True, overflow="ignore")]
    return Group(*parts)


def _section(title: str) -> list[RenderableType]:
    return [Text(), Rule(Text(title, style="bold"), align="left", style="dim")]


def _quality_words(quality: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what the columns mean, and who is ahead."""
    words = (
        "PNMI: how much of what there is to know about the phone its unit tells (100: all). Corrected: the same above "
        "chance, which is what the units score when shifted in time. Bits a frame: how much the past tells."
    )
    rates = {
        name: measured["without_silence"]["pnmi_corrected"]
        for name, measured in quality.items()
        if (measured.get("without_silence") or {}).get("pnmi_corrected") is not None
    }
    classic = [rate for name, rate in rates.items() if "mfcc" in name.lower()]
    learnt = [rate for name, rate in rates.items() if "mfcc" not in name.lower()]
    if classic and learnt:
        ahead = max(learnt) - max(classic)
        verdict = "ahead of" if ahead > 0 else "not ahead of"
        words += f" The learnt units are {verdict} k-means on MFCC, the classic features ({100 * ahead:+.1f})."
    return words


def _steps(folder: Path | None) -> list[tuple[str, str]]:
    run = folder or Path("runs/demo")
    return [
        ("Write the units of your own recordings:",
         f"speechunits transcribe my.wav --model {run / 'units.safetensors'}"),
        ("Read them as text (trained on the demo's language, so expect little of another):",
         f"speechunits recognize my.wav --model {run / 'asr.safetensors'}"),
        ("Do all of this with a folder of your own speech:",
         "speechunits manifest my_folder -o my.tsv && speechunits pretrain recipes/own.yaml"),
    ]  # fmt: skip
