"""What each label-free choice of a layer costs: a row an encoder and corpus, a column a criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from speechunits.evaluation.select import CRITERIA, Judge
from speechunits.evaluation.survey import row_regrets
from speechunits.report.tables import Row, markdown


def regret_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return Markdown tables of PNMI and of ABX error lost, in points, with the layer chosen in brackets.

    Means and worst cases last; ABX where the rows hold it.
    """
    by_abx = [row for row in rows if row.get("abx")]
    tables = [_table(rows, "pnmi", "best PNMI % (layer)"), _table(by_abx, "abx", "lowest ABX error % (layer)")]
    return "\n".join(tables if by_abx else tables[:1])


def _table(rows: Sequence[Mapping[str, Any]], judge: Judge, heading: str) -> str:
    costs = [row_regrets(row, judge) for row in rows]
    names = [name for name in (*CRITERIA, "middle", "last") if any(name in cost for cost in costs)]
    lines: list[Row] = []
    for row, cost in zip(rows, costs, strict=True):
        best = int(np.argmax(row["pnmi"]) if judge == "pnmi" else np.argmin(row["abx"]))
        cells = [f"{100 * cost[name].regret:.1f} ({cost[name].chosen})" if name in cost else "–" for name in names]
        title = f"{row['encoder']}, {row['corpus']}, K = {row['clusters']}"
        lines.append((title, f"{100 * row[judge][best]:.1f} ({best})", *cells))
    for title, summary in (("mean", np.mean), ("worst", np.max)):
        found = [[cost[name].regret for cost in costs if name in cost] for name in names]
        lines.append((title, "", *(f"{100 * summary(values):.1f}" for values in found)))
    return markdown(("encoder, corpus", heading, *(name.replace("_", " ") for name in names)), lines)
