"""A certificate as one HTML file that needs nothing else: no script, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.charts import BASELINE, beside_chart, chart, profile_chart, sensitivity_chart, timeline_chart
from reports.model import Certificate, LeftOut, Measurement, RequirementResult, Status, Verdict

_HEADLINES = {
    Verdict.PASS: "Passed",
    Verdict.FAIL: "Failed",
    Verdict.INCOMPLETE: "Incomplete",
}
_FIGURES: tuple[tuple[str, str, Callable[[Iterable[float]], float], str], ...] = (
    ("rpo", "RPO", max, "worst data loss seen, from payload"),
    ("rto", "RTO", max, "worst time from request to answer"),
    ("initial-replication-rate", "Initial replication", min, "slowest full copy"),
    ("reduction", "Reduction", min, "bytes written for each byte sent"),
)


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    title: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True)
class SubjectRows:
    """The rows of the matrix under one heading."""

    subject: str
    rows: tuple[RequirementResult, ...]
    counts: dict[str, int]

    @property
    def failing(self) -> bool:
        """Whether a rule here failed."""
        return self.counts.get(Status.FAIL, 0) > 0


@dataclass(frozen=True)
class MeasurementBlock:
    """All measurements of one name, with their chart."""

    title: str
    rows: tuple[Measurement, ...]
    chart: Markup | None


def render(certificate: Certificate) -> str:
    """Return the whole HTML file."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("certificate.html.j2").render(
        certificate=certificate,
        headline=_HEADLINES[certificate.verdict],
        figures=figures(certificate.measurements),
        subjects=subjects(certificate.requirements),
        blocks=blocks(certificate.measurements),
        beside=beside(certificate.measurements),
        timelines=[(item, _svg(timeline_chart(item))) for item in certificate.timelines],
        sensitivity=certificate.sensitivity and _svg(sensitivity_chart(certificate.sensitivity)),
        deviations=deviations(certificate.requirements),
        profile=certificate.profile and _svg(profile_chart(certificate.profile)),
        why_not_run=why_not_run(certificate),
        left_out=left_out(certificate.left_out),
    )


def _svg(chart_text: str) -> Markup:
    return Markup(chart_text)  # noqa: S704 - the texts of a chart are escaped by matplotlib's SVG writer


def beside(measurements: Sequence[Measurement]) -> Markup | None:
    """Return the chart of the stack's rates beside those of the bare path, if both were measured."""
    rates = [item for item in measurements if item.name in {BASELINE, "initial-replication-rate"}]
    both = {item.name for item in rates}
    same_unit = len({item.unit for item in rates}) == 1
    return _svg(beside_chart(rates)) if len(both) > 1 and same_unit else None


def deviations(requirements: Sequence[RequirementResult]) -> list[RequirementResult]:
    """Return the rules of the scenario that the run does not show to be kept, failed ones first."""
    open_rules = [item for item in requirements if item.status is not Status.PASS]
    return sorted(open_rules, key=lambda item: item.status is not Status.FAIL)


def why_not_run(certificate: Certificate) -> dict[str, list[str]]:
    """Return, for every rule that was not run, why the tests that carry it were left out; nothing where none does.

    Where no test could say anything, because of what the stack is, that is the only reason. Where none was written, it
    is what the catalogue says.
    """
    not_run = [row for row in certificate.requirements if row.status is Status.NOT_RUN]
    found: dict[str, list[str]] = {row.id: [row.not_tested] if row.not_tested else [] for row in not_run}
    for test in certificate.left_out:
        for rule in found.keys() & set(test.requirements):
            if not test.nodeid:
                found[rule] = [test.reason]
            elif test.reason not in found[rule]:
                found[rule].append(test.reason)
    return found


def left_out(tests: Iterable[LeftOut]) -> list[tuple[str, list[str]]]:
    """Return the tests that were left out, by reason; the reason of the most comes first."""
    found: dict[str, list[str]] = {}
    for test in tests:
        if not test.nodeid:
            continue
        found.setdefault(test.reason, []).append(test.nodeid)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def number(value: float) -> str:
    """Return a number with as many digits as a reader can use."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - four digits


def figures(measurements: Sequence[Measurement]) -> list[Figure]:
    """Return the four numbers at the top; one that was not measured says so."""
    result = []
    for name, title, worst, note in _FIGURES:
        found = [item for item in measurements if item.name == name]
        value = number(worst(item.value for item in found)) if found else "-"
        result.append(Figure(title, value, found[0].unit if found else "", note if found else "not measured"))
    return result


def subjects(requirements: Sequence[RequirementResult]) -> list[SubjectRows]:
    """Return the matrix by subject."""
    return [_rows(name, tuple(items)) for name, items in groupby(requirements, key=lambda item: item.subject)]


def _rows(subject: str, rows: tuple[RequirementResult, ...]) -> SubjectRows:
    return SubjectRows(subject, rows, dict(Counter(item.status.value for item in rows)))


def blocks(measurements: Sequence[Measurement]) -> list[MeasurementBlock]:
    """Return measurements by name; a single number needs no chart."""
    titles = {name: title for name, title, _, _ in _FIGURES}
    names = dict.fromkeys(item.name for item in measurements)
    result = []
    for name in names:
        rows = tuple(item for item in measurements if item.name == name)
        worth = len(rows) > 1 or any(item.samples for item in rows)
        drawing = _svg(chart(rows)) if worth else None
        result.append(MeasurementBlock(titles.get(name, name.replace("-", " ")), rows, drawing))
    return result
