"""The history as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.history.model import RunRecord
from lab.history.trends import CHANGE_TEST, Series, Trend, series, trends
from reports.charts import history_chart
from reports.html import number


@dataclass(frozen=True)
class Drawn:
    """A series with its chart."""

    series: Series
    chart: Markup | None


def render_history(runs: Sequence[RunRecord]) -> str:
    """Return the whole page; ``runs`` are oldest first."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    found = trends(runs)
    return environment.get_template("history.html.j2").render(
        runs=list(reversed(runs)),
        bad=[trend for trend in found if trend.first_bad],
        good=[trend for trend in found if not trend.first_bad],
        drawn=[_drawn(item) for item in series(runs)],
        change_test=CHANGE_TEST,
        percent=_percent,
        interval=_interval,
    )


def _drawn(item: Series) -> Drawn:
    # the chart's own texts are escaped by matplotlib's SVG writer
    chart = Markup(history_chart(item.points, item.unit, f"{item.topology} {item.name} {item.context}"))  # noqa: S704
    return Drawn(item, chart if len(item.points) > 1 else None)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(trend: Trend) -> str:
    return f"{100 * trend.low:.0f} to {100 * trend.high:.0f} %"
