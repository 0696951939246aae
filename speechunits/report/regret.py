"""What each label-free choice of a layer costs: a row an encoder and corpus, a column a criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from speechunits.evaluation.select import CRITERIA
from speechunits.evaluation.survey import row_regrets
from speechunits.report.tables import Row, markdown


def regret_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table: PNMI lost, in points, with the layer chosen in brackets; means and worst cases last."""
    costs = [row_regrets(row) for row in rows]
    names = [name for name in (*CRITERIA, "middle", "last") if any(name in cost for cost in costs)]
    lines: list[Row] = []
    for row, cost in zip(rows, costs, strict=True):
        best = int(np.argmax(row["pnmi"]))
        cells = [f"{100 * cost[name].regret:.1f} ({cost[name].chosen})" if name in cost else "–" for name in names]
        title = f"{row['encoder']}, {row['corpus']}, K = {row['clusters']}"
        lines.append((title, f"{100 * row['pnmi'][best]:.1f} ({best})", *cells))
    for title, summary in (("mean", np.mean), ("worst", np.max)):
        found = [[cost[name].regret for cost in costs if name in cost] for name in names]
        lines.append((title, "", *(f"{100 * summary(values):.1f}" for values in found)))
    return markdown(("encoder, corpus", "best PNMI % (layer)", *(name.replace("_", " ") for name in names)), lines)
