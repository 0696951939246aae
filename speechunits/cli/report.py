"""The command that shows a run: ``report``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.output import check_output

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    report = commands.add_parser("report", help="a run as one HTML file: curves, factor, heat map, recordings to hear")
    report.add_argument("folder", type=Path, metavar="RUN", help="a run folder, finished or not")
    report.add_argument("-o", "--out", type=Path, required=True, metavar="REPORT.html", help="the page to write")
    report.add_argument("--rows", type=int, default=24, help="recordings to listen to (default %(default)s)")
    report.add_argument("--manifest", type=Path, help="where the recordings are, if not where the recipe says")
    report.add_argument("--phones", type=Path, help="phone alignment: id, start, end, phone")
    report.add_argument("--units", type=Path, metavar="UNITS.safetensors", help="units, if not those in the run folder")
    report.add_argument("--also", type=Path, action="append", default=[], metavar="MEASURES.json",
                        help="further measurements to show, as `evaluate` writes them; may be given again")  # fmt: skip
    report.set_defaults(run=run_report)


def _is_page(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm")


def run_report(options: argparse.Namespace) -> int:
    """Write the page; exit code 1 if a file that was named could not be used for it."""
    from speechunits.report.page.write import write_page

    inputs = [options.manifest, options.phones, options.units, *options.also]
    check_output(options.out, inputs=inputs, is_result=_is_page)
    page = write_page(options.folder, options.out, manifest=options.manifest, phones=options.phones,
                      units=options.units, also=options.also, rows=options.rows)  # fmt: skip
    for part in page.absent:
        print(f"not on the page: {part.what}: {part.why}", file=sys.stderr)
    print(f"{page.path}: {page.bytes / 1e6:.1f} MB, {page.recordings} recordings to hear")
    return 1 if any(part.given for part in page.absent) else 0
