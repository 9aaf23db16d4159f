"""Charts as SVG text that is the same for the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from reports.model import Measurement, Profile, SeededDefect, Sensitivity, Timeline

BASELINE = "baseline-rate"

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
_TESTS_DEPTH = 2
_ROOM_FOR_NAME = 0.09


def chart(measurements: Sequence[Measurement]) -> str:
    """Return an inline SVG of measurements of one name: lines if they have samples, bars if not."""
    series = [item for item in measurements if item.samples]
    if series:
        return _drawn(lambda axes: _lines(axes, series), 2.4, measurements[0].name)
    return _drawn(lambda axes: _bars(axes, measurements), 0.7 + 0.34 * len(measurements), measurements[0].name)


def timeline_chart(timeline: Timeline) -> str:
    """Return an inline SVG of the steps of a failover: a bar for each, and where the application answered."""

    def draw(axes: Any) -> None:
        for place, step in enumerate(timeline.steps):
            length = max(0.0, (step.ended_s or step.began_s) - step.began_s)
            colour = _INK if step.state == "done" else "#9b2c2c"
            axes.barh(place, length, left=step.began_s, color=colour, height=0.55)
            axes.annotate(f"{length:.1f} s", (step.began_s + length, place), xytext=(4, -3), textcoords="offset points")
        if timeline.answered_s is not None:
            axes.axvline(timeline.answered_s, color="#b7791f", linewidth=1.2, linestyle="--")
        axes.set_yticks(range(len(timeline.steps)), [step.name for step in timeline.steps])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel("seconds from the first step; dashed: the application answers")

    return _drawn(draw, 0.8 + 0.3 * len(timeline.steps), timeline.what)


def beside_chart(measurements: Sequence[Measurement]) -> str:
    """Return an inline SVG of rates: those of the bare path light, those of the stack dark."""

    def draw(axes: Any) -> None:
        places = range(len(measurements))
        colours = ["#9fb3c8" if item.name == BASELINE else _INK for item in measurements]
        bars = axes.barh(places, [item.value for item in measurements], color=colours, height=0.55)
        axes.bar_label(bars, fmt="{:,.4g}", padding=4, color="#323f4b")
        axes.set_yticks(places, [f"{item.name.replace('-', ' ')}: {item.context}"[:52] for item in measurements])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel(f"{measurements[0].unit}; light: the bare path, dark: the stack")

    return _drawn(draw, 0.7 + 0.34 * len(measurements), "beside the bare path")


def sensitivity_chart(sensitivity: Sensitivity) -> str:
    """Return an inline SVG: for each part of the stack, how many seeded defects were noticed, equivalent, missed."""
    parts = list(dict.fromkeys(item.part for item in sensitivity.defects))
    kinds: tuple[tuple[str, str, Callable[[SeededDefect], bool]], ...] = (
        ("noticed", "#2f855a", lambda item: item.noticed is True),
        ("equivalent", "#9fb3c8", lambda item: item.noticed is False and item.equivalent),
        ("not noticed", "#9b2c2c", lambda item: item.noticed is False and not item.equivalent),
        ("not tried", "#e4e7eb", lambda item: item.noticed is None),
    )

    def draw(axes: Any) -> None:
        left = [0] * len(parts)
        for label, colour, wanted in kinds:
            counts = [sum(item.part == part and wanted(item) for item in sensitivity.defects) for part in parts]
            axes.barh(range(len(parts)), counts, left=left, color=colour, height=0.6, label=label)
            left = [before + count for before, count in zip(left, counts, strict=True)]
        axes.set_yticks(range(len(parts)), parts)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seeded defects")
        axes.legend(frameon=False, fontsize=8, ncols=len(kinds), loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return _drawn(draw, 1.1 + 0.3 * len(parts), "sensitivity")


def profile_chart(profile: Profile) -> str:
    """Return an inline SVG of where the time went: phases above, the subjects below them, tests at the bottom."""
    shades = ("#1f4e79", "#486581", "#829ab1", "#bcccdc")

    def draw(axes: Any) -> None:
        for number, span in enumerate(profile.spans):
            colour = shades[(span.depth + number) % len(shades)]
            axes.barh(span.depth, span.seconds, left=span.began_s, color=colour, height=0.92, linewidth=0)
            if span.depth < _TESTS_DEPTH and span.seconds > profile.seconds * _ROOM_FOR_NAME:
                middle = span.began_s + span.seconds / 2
                axes.annotate(span.name, (middle, span.depth), ha="center", va="center", color="white", fontsize=7)
        axes.set_yticks(range(_TESTS_DEPTH + 1), ["phase", "subject", "test"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, profile.seconds), xlabel="seconds from the start of the run")

    return _drawn(draw, 1.9, "where the time went")


def history_chart(points: Sequence[tuple[str, float]], unit: str, title: str) -> str:
    """Return an inline SVG of a number over runs, oldest first; ``title`` keeps ids apart on one page."""

    def draw(axes: Any) -> None:
        values = [value for _, value in points]
        axes.plot(range(1, len(values) + 1), values, color=_INK, linewidth=1.2, marker="o", markersize=3)
        axes.set(xlabel="runs, the last one on the right", ylabel=unit, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)

    return _drawn(draw, 1.9, title)


def _drawn(draw: Callable[[Any], None], height: float, title: str) -> str:
    """Return what ``draw`` paints on axes as inline SVG; ``height`` in inches."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    return _inline(target.getvalue(), title)


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
