"""The command ``picture``: a sentence, its phones and its units."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechunits.cli.naming import MANIFEST_HELP
from speechunits.cli.output import check_output

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the command of this file."""
    picture = commands.add_parser("picture", help="draw a recording: spectrogram, phones, units")
    picture.add_argument("id", metavar="ID", help="of a recording in the manifest")
    picture.add_argument("--manifest", type=Path, required=True, help=MANIFEST_HELP)
    picture.add_argument("--phones", type=Path, help="phone alignment to draw: id, start, end, phone")
    picture.add_argument("--model", type=Path, required=True, metavar="UNITS.safetensors", help="the units to draw")
    picture.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png", help="or .pdf, .svg, .jpg")
    picture.set_defaults(run=run_picture)


def run_picture(options: argparse.Namespace) -> int:
    """Draw one recording."""
    from speechunits.audio.load import load_waveform
    from speechunits.audio.manifest import read_manifest
    from speechunits.audio.phones import read_phones
    from speechunits.errors import UsageError
    from speechunits.frames import SAMPLE_RATE_HZ
    from speechunits.report.picture import check_picture, plot_sentence
    from speechunits.units.transcript import UnitTranscript, unit_spans
    from speechunits.units.units import Units

    check_picture(options.out)
    check_output(options.out, inputs=[options.manifest, options.phones, options.model])
    rows = {row.id: row for row in read_manifest(options.manifest)}
    if options.id not in rows:
        raise UsageError(f"{options.manifest} must hold {options.id}, but does not; check the id")
    row = rows[options.id]
    waveform = load_waveform(row.audio, start_s=row.start_s, end_s=row.end_s)
    units = Units.load(options.model)
    transcript = UnitTranscript(id=row.id, duration_s=len(waveform) / SAMPLE_RATE_HZ, units=units.units(waveform))
    phones = [] if options.phones is None else read_phones(options.phones).get(row.id, [])
    plot_sentence(waveform, phones, unit_spans(transcript), options.out, title=row.text or row.id)
    return 0
