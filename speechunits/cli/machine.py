"""The command about this machine: ``doctor``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    doctor = commands.add_parser("doctor", help="what is installed, what this machine can do, a self-test, remedies")
    doctor.set_defaults(run=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """Print every finding; exit code 1 if something that should work does not."""
    del options
    from speechunits.doctor import examine, report

    findings = []
    for finding in examine():
        print(finding, flush=True)
        findings.append(finding)
    return report(findings)
