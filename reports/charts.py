"""Charts as SVG text that is the same for the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from reports.model import Measurement

_SETTINGS: Any = {
    "svg.hashsalt": "recovery-lab",
    "svg.fonttype": "none",  # text stays text: it uses the fonts of the page and can be searched
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "axes.labelcolor": "#52606d",
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
}
_INK = "#1f4e79"
_LABEL_LENGTH = 34


def chart(measurements: Sequence[Measurement]) -> str:
    """Return an inline SVG of measurements of one name: lines if they have samples, bars if not."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    series = [item for item in measurements if item.samples]
    with mpl.rc_context(_SETTINGS):
        height = 2.4 if series else 0.7 + 0.34 * len(measurements)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if series:
            _lines(axes, series)
        else:
            _bars(axes, measurements)
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    return _inline(target.getvalue(), measurements[0].name)


def _lines(axes: Any, series: Sequence[Measurement]) -> None:
    shades = ("#1f4e79", "#b7791f", "#2f855a", "#97266d", "#52606d")
    for number, item in enumerate(series):
        times, values = zip(*item.samples, strict=True)
        shade = shades[number % len(shades)]
        axes.plot(times, values, color=shade, linewidth=1.4, label=item.context or item.name)
    axes.set(xlabel="seconds", ylabel=series[0].unit, ylim=(0, None))
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)


def _bars(axes: Any, measurements: Sequence[Measurement]) -> None:
    places = range(len(measurements))
    values = [item.value for item in measurements]
    bars = axes.barh(places, values, color=_INK, height=0.55)
    axes.bar_label(bars, fmt="{:,.4g}", padding=4, color="#323f4b")
    labels = [item.context[:_LABEL_LENGTH] or item.name for item in measurements]
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    axes.set_xlabel(measurements[0].unit)


def _inline(svg: str, title: str) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{re.sub('[^a-z0-9]', '-', title.lower())}-", body)
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', body, count=1, flags=re.DOTALL
    )
