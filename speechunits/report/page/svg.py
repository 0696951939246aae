"""Matplotlib figures as SVG that can stand inside a page: its font, its text colour, ids of their own."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree as ET

INK = "#010203"
"""Stands for the page's text colour, which a dark page changes; no other colour of a figure may be this one."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Extensible Markup Language 1.0, production 2."""


def make_figure(width_in: float = 7.2, height_in: float = 3.6) -> Any:
    """Return a matplotlib figure without pyplot, which keeps global state and looks for a screen."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def plain_axes(axes: Any) -> None:
    """Give axes the page's text colour, a light grid, and two spines."""
    axes.tick_params(colors=INK)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in {"left", "bottom"})
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    if legend := axes.get_legend():
        for text in legend.get_texts():
            text.set_color(INK)
            text.set_parse_math(False)


def inline_svg(figure: Any, name: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element with role ``img`` and ``label`` as its text alternative.

    Every id begins with ``name``, so that several figures share a document. No style sheet, no metadata, no address.
    """
    import matplotlib as mpl  # noqa: PLC0415

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    drawn = io.BytesIO()
    with (
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}),
        warnings.catch_warnings(),
    ):
        # Text is drawn in the font of the page, not in matplotlib's.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    # A label may hold characters that XML has not, and matplotlib writes them.
    written = _NOT_XML.sub("\ufffd", drawn.getvalue().decode("utf-8"))
    root = ET.fromstring(written)  # noqa: S314 - written by matplotlib a few lines above
    _clean(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": "plot"}
    return ET.tostring(root, encoding="unicode")


def _clean(element: ET.Element, name: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {key.rpartition("}")[2]: _value(key, text, name) for key, text in element.attrib.items()}
    for child in list(element):
        if child.tag.rpartition("}")[2] in {"metadata", "style"}:
            element.remove(child)
        else:
            _clean(child, name)


def _value(key: str, text: str, name: str) -> str:
    if key == "id":
        return f"{name}-{text}"
    if key.endswith("href") and text.startswith("#"):
        return f"#{name}-{text[1:]}"
    if key == "style":
        # The family is the page's; the size stays.
        text = re.sub(r"font: (?:\w+ )*?([\d.]+px)[^;]*", r"font-size: \1", text)
        text = re.sub(r"font-family:[^;]*;?", "", text)
    return re.sub(r"url\(#", f"url(#{name}-", text).replace(INK, "currentColor")
