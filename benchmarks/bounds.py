"""The two bounds on pairs whose mutual information is known: what each can read, and where it ends.

    python benchmarks/bounds.py --out results/bounds

Writes bounds.png and bounds.json. Every critic and predictor is the exact one, so that what is missing is the bound's.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from torch import Tensor

from speechunits.objectives.bounds import (
    direct_estimate_bits,
    gaussian_information_bits,
    infonce_estimate_bits,
    joint_information_bits,
)

CANDIDATES = (8, 64, 512)
SYMBOLS = 64


def gaussian_scores(correlation: float, candidates: int, pairs: int, generator: torch.Generator) -> Tensor:
    """Return ``(pairs, candidates)`` ln p(y | x) / p(y) of jointly Gaussian numbers, the positive first."""
    noise = torch.randn(pairs, candidates + 1, generator=generator, dtype=torch.float64)
    x, y = noise[:, :1], noise[:, 1:].clone()
    width = math.sqrt(1 - correlation**2)
    y[:, 0] = correlation * x[:, 0] + width * y[:, 0]
    return -math.log(width) + y.square() / 2 - (y - correlation * x).square() / (2 * width**2)


def gaussian_symbols(correlation: float, symbols: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ``(pairs,)`` symbols, y in equally probable cells, and the ``(pairs, symbols)`` exact ln P(symbol | x)."""
    noise = torch.randn(2, pairs, generator=generator, dtype=torch.float64)
    width = math.sqrt(1 - correlation**2)
    y = correlation * noise[0] + width * noise[1]
    edges = torch.special.ndtri(torch.arange(1, symbols, dtype=torch.float64) / symbols)
    below = torch.special.ndtr((edges - correlation * noise[0][:, None]) / width)
    cells = torch.diff(below, dim=1, prepend=torch.zeros(pairs, 1), append=torch.ones(pairs, 1))
    return torch.bucketize(y, edges), cells.clamp(min=1e-300).log()


def channel(symbols: int, error: float) -> Tensor:
    """Return the ``(symbols, symbols)`` joint of a uniform x and a y that differs with probability ``error``."""
    joint = torch.full((symbols, symbols), error / max(symbols - 1, 1), dtype=torch.float64)
    joint.fill_diagonal_(1 - error)
    return joint / symbols


def draw(joint: Tensor, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ``(pairs,)`` x and y drawn from a table of probabilities."""
    places = torch.multinomial(joint.flatten(), pairs, replacement=True, generator=generator)
    return places // joint.shape[1], places % joint.shape[1]


def joint_scores(joint: Tensor, candidates: int, pairs: int, generator: torch.Generator) -> Tensor:
    """Return ``(pairs, candidates)`` ln p(x, y) / p(x) p(y), the positive first; impossible pairs have −700."""
    x, y = draw(joint, pairs, generator)
    marginal = joint.sum(dim=0)
    others = torch.multinomial(marginal, pairs * (candidates - 1), replacement=True, generator=generator)
    columns = torch.cat((y[:, None], others.view(pairs, -1)), dim=1)
    ratio = joint / (joint.sum(dim=1, keepdim=True) * marginal)
    return ratio[x[:, None], columns].log().clamp(min=-700)


def joint_symbols(joint: Tensor, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ``(pairs,)`` symbols y and the ``(pairs, Y)`` exact ln P(y | x)."""
    x, y = draw(joint, pairs, generator)
    return y, (joint / joint.sum(dim=1, keepdim=True))[x].clamp(min=1e-300).log()


def measure(points: int, pairs: int, seed: int) -> dict[str, list[dict[str, float]]]:
    """Return, for Gaussian pairs and noisy channels, the information and what each bound reads of it, in bits."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[dict[str, float]]] = {"gaussian": [], "channel": []}
    for bits in torch.linspace(0, 8, points).tolist():
        correlation = math.sqrt(1 - 4**-bits)
        row = {"information": gaussian_information_bits(correlation)}
        for number in CANDIDATES:
            row[f"cpc_{number}"] = infonce_estimate_bits(gaussian_scores(correlation, number, pairs, generator))
        row["direct"] = direct_estimate_bits(*gaussian_symbols(correlation, SYMBOLS, 8 * pairs, generator))
        rows["gaussian"].append(row)
    for error in torch.linspace(1 - 1 / SYMBOLS, 0, points).tolist():
        joint = channel(SYMBOLS, error)
        row = {"information": joint_information_bits(joint)}
        for number in CANDIDATES:
            row[f"cpc_{number}"] = infonce_estimate_bits(joint_scores(joint, number, pairs, generator))
        row["direct"] = direct_estimate_bits(*joint_symbols(joint, 8 * pairs, generator))
        rows["channel"].append(row)
    return rows


def draw_figure(rows: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw both bounds over the true information."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    titles = {"gaussian": "Gaussian pairs (direct: y in 64 cells)", "channel": "64 symbols through a noisy channel"}
    styles = [("#56B4E9", ":"), ("#0072B2", "-."), ("#003E61", "--")]
    for place, (kind, title) in enumerate(titles.items()):
        axes = figure.add_subplot(1, 2, place + 1)
        information = [row["information"] for row in rows[kind]]
        axes.plot(information, information, color="#BBBBBB", label="I(x; y)")
        for number, (color, line) in zip(CANDIDATES, styles, strict=True):
            axes.plot(information, [row[f"cpc_{number}"] for row in rows[kind]], line, color=color,
                      label=f"CPC, N = {number}: at most {math.log2(number):g}")  # fmt: skip
        axes.plot(information, [row["direct"] for row in rows[kind]], color="#D55E00",
                  label=f"direct, K = {SYMBOLS}: at most {math.log2(SYMBOLS):g}")  # fmt: skip
        axes.set(title=title, xlabel="mutual information (bits)", ylabel="bound (bits)")
        axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Measure, draw, and print the last rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/bounds"))
    parser.add_argument("--points", type=int, default=17)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = measure(options.points, options.pairs, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bounds.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw_figure(rows, options.out / "bounds.png")
    for kind, lines in rows.items():
        shown = ", ".join(f"{name} {value:.2f}" for name, value in lines[-1].items())
        print(f"{kind}: {shown} bits")


if __name__ == "__main__":
    main()
