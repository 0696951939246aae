"""Do two versions train alike? `python -m benchmarks.curves --before RUN… --after RUN… -o FIGURE.png`.

Each RUN is a folder with a ``metrics.jsonl``; runs of a version differ in their seed alone. The figure shows the
training loss over the audio seen; the JSON beside it says by how much the versions' means differ at the end, in
standard errors of the seeds, and the verdict: within seed noise if that is less than Student's t (two-sided, 95 %) for
as many runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
POINTS = 50
TAIL = 0.1
"""Share of the training over whose end the loss is averaged."""
STUDENT_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31)
"""Its 97.5th percentile for 1, 2, … degrees of freedom: runs of both versions less two."""


def curve(folder: Path) -> Curve:
    """Return audio-hours and training loss (bits) of the lines of a run."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "train" and row.get("loss_bits") is not None]
    if not rows:
        raise SystemExit(
            f"{folder}/metrics.jsonl must hold lines of training, but has none; was the run stopped early?"
        )
    return np.array([row["audio_hours"] for row in rows]), np.array([row["loss_bits"] for row in rows])


def at(curves: list[Curve], hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(runs, points)`` losses at the given hours."""
    return np.array([np.interp(hours, *found) for found in curves])


def comparison(before: list[Curve], after: list[Curve]) -> dict[str, object]:
    """Return the final losses of both and their difference in standard errors (None with one seed each)."""
    end = min(found[0][-1] for found in (*before, *after))
    tail = np.linspace((1 - TAIL) * end, end, POINTS)
    finals = [at(curves, tail).mean(axis=1).tolist() for curves in (before, after)]
    spreads = [statistics.variance(values) / len(values) if len(values) > 1 else 0.0 for values in finals]
    difference = statistics.mean(finals[1]) - statistics.mean(finals[0])
    error = math.sqrt(sum(spreads))
    found = difference / error if error else None
    return {
        "audio_hours": end, "before_bits": finals[0], "after_bits": finals[1], "difference_bits": difference,
        "standard_errors": found, "verdict": verdict(found, len(before) + len(after) - 2),
    }  # fmt: skip


def verdict(standard_errors: float | None, degrees: int) -> str:
    """Say in words whether a difference of so many standard errors is more than seeds make by themselves."""
    if standard_errors is None or degrees < 1:
        return "unknown: one seed a version shows no noise"
    limit = STUDENT_T[min(degrees, len(STUDENT_T)) - 1]
    if abs(standard_errors) <= limit:
        return f"within seed noise: {abs(standard_errors):.2f} standard errors, at most {limit:.2f}"
    return f"beyond seed noise: {abs(standard_errors):.2f} standard errors, more than {limit:.2f}"


def draw(before: list[Curve], after: list[Curve], path: Path) -> None:
    """Write the figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, colour, curves in (("before", "tab:gray", before), ("after", "tab:blue", after)):
        for number, found in enumerate(curves):
            axes.plot(*found, color=colour, linewidth=1, label=None if number else f"{name} ({len(curves)} seeds)")
    axes.set(xlabel="audio-hours seen", ylabel="training loss, bits a frame")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Compare the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, nargs="+", required=True)
    parser.add_argument("--after", type=Path, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG; a JSON of the same name lies beside it")
    arguments = parser.parse_args()
    before, after = ([curve(folder) for folder in folders] for folders in (arguments.before, arguments.after))
    found = comparison(before, after)
    draw(before, after, arguments.output)
    arguments.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
