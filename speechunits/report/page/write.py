"""The page of a run: everything gathered, rendered, and written as one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from speechunits import __version__
from speechunits.audio.load import printable
from speechunits.errors import UsageError
from speechunits.report.page.listening import PIXELS_A_SECOND, Row, choose, listening_rows
from speechunits.report.page.run_files import Absent, RunFiles, read_run
from speechunits.report.page.sections import factor_parts, facts, learning_parts, measurement_parts, unit_parts
from speechunits.report.page.study import Study, spread, study_units
from speechunits.run import write_text

MAX_BYTES = 15_000_000
"""What goes through most mail servers."""
STUDY_MINUTES = 40.0
"""Speech of the reported split whose units are computed for the page, evenly spread over the split."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What was written."""

    path: Path
    bytes: int
    recordings: int
    """Rows to listen to."""
    absent: tuple[Absent, ...]


def write_page(
    run: Path,
    out: Path,
    *,
    manifest: Path | None = None,
    phones: Path | None = None,
    units: Path | None = None,
    also: Sequence[Path] = (),
    rows: int = 24,
    minutes: float = STUDY_MINUTES,
) -> Page:
    """Write the page of a run folder, whole or not; what is absent is named on it.

    Parameters
    ----------
    manifest, phones, units
        In place of the recipe's, and of the run's units.
    also
        JSON files of further measurements.
    rows
        Recordings to listen to, fewer where the page would pass 15 MB.
    minutes
        Speech whose units are computed.

    Raises
    ------
    UsageError
        If ``run`` is no run folder, a file that is named is not there, or jinja2 or matplotlib is missing.
    """
    for name, path in (("--manifest", manifest), ("--phones", phones), ("--units", units),
                       *(("--also", path) for path in also)):  # fmt: skip
        if path is not None and not path.exists():
            raise UsageError(f"{name} {printable(path)} does not exist; check the path, or leave it out")
    if rows < 0 or minutes <= 0:
        raise UsageError(f"rows must be at least 0 and minutes above 0, but are {rows} and {minutes:g}")
    _need_extras()
    found = read_run(run, manifest=manifest, phones=phones, units=units, also=also)
    study = _study(found, minutes, given=units is not None)
    context = {"run": found, "facts": facts(found, study), **factor_parts(found), **learning_parts(found),
               **measurement_parts(found), **unit_parts(found, study)}  # fmt: skip
    listened = _listened(found, study, rows)
    _name_refused(found, study)
    while True:
        text = render({**context, "rows": listened, "recordings": _numbers(listened), "absent": found.absent})
        size = len(text.encode())
        if size <= MAX_BYTES or not listened:
            break
        listened = _listened(found, study, len(listened) // 2)
    write_text(out, text)
    return Page(path=out, bytes=size, recordings=len(listened), absent=tuple(found.absent))


def render(context: dict[str, Any]) -> str:
    """Return the template filled in, every value escaped; the script is the only one the page allows."""
    import jinja2  # noqa: PLC0415 - an optional dependency

    files = resources.files("speechunits.report.page") / "template"
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("speechunits.report.page", "template"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {"style": style, "script": script, "digest": digest, "version": __version__, "scale": PIXELS_A_SECOND}
    return environment.get_template("page.html.j2").render(context | shared)


def _need_extras() -> None:
    try:
        import jinja2  # noqa: F401, PLC0415
        import matplotlib  # noqa: F401, ICN001, PLC0415
    except ImportError as error:
        raise UsageError(f"the page needs jinja2 and matplotlib ({error}); pip install 'speechunits[report]'") from None


def _study(run: RunFiles, minutes: float, *, given: bool = False) -> Study:
    """Return the units and phones of the reported split, as far as there are any."""
    held = [row for row in run.corpus.recordings if row.split == run.split] if run.corpus is not None else []
    if run.corpus is not None and not held:
        run.absent.append(Absent(what=f"recordings of {run.split}", why="the manifest has none in this split"))
    held = spread(held, minutes)
    phones = run.corpus.phones if run.corpus is not None else {}
    if run.units is not None and held:
        bundle = run.units
        done = run.attempt("units", "fit them again", lambda: study_units(bundle, held, phones), given=given)
        if done is not None:
            return done
    return Study(clusters=0, recordings=held, phones={row.id: phones[row.id] for row in held if row.id in phones})


def _listened(run: RunFiles, study: Study, count: int) -> list[Row]:
    """Return at most ``count`` rows; where they are too large, fewer, but from the best to the worst all the same."""
    first = run.hypotheses[0][1] if run.hypotheses else {}
    known = list(study.refused)
    while True:
        study.refused[:] = known
        chosen = choose(study.recordings, first, count, spaced=run.spaced)
        rows = listening_rows(chosen, study, run.hypotheses, spaced=run.spaced)
        if len(rows) + len(study.refused) - len(known) >= len(chosen):
            return rows
        count = len(rows)


def _name_refused(run: RunFiles, study: Study) -> None:
    if study.refused:
        reasons = "; ".join(f"{name}: {why}" for name, why in study.refused[:5])
        run.absent.append(Absent(what=f"{len(study.refused)} recordings", why=f"they cannot be read ({reasons})"))


def _numbers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what the page's JSON says of recordings."""
    return [{"id": row.recording.id, "speaker": row.recording.speaker, "reference": row.recording.text,
             "readings": [{"title": reading.title, "hypothesis": reading.hypothesis, "cer": reading.cer}
                          for reading in row.readings]} for row in rows]  # fmt: skip
