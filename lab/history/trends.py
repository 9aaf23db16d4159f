"""What the history says about each rule, test and number on each topology and build. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from lab.history.model import RunRecord
from lab.history.statistics import mann_whitney, wilson

RECENT = 5
BEFORE = 20
SIGNIFICANCE = 0.01
CHANGE_TEST = (
    f"The last {RECENT} runs against the {BEFORE} before them: two-sided Mann-Whitney U, exact; "
    f"a change is p < {SIGNIFICANCE}. No verdict with fewer than {RECENT} on either side."
)


@dataclass(frozen=True)
class Trend:
    """One rule on one topology and build. Rates are of runs that showed something: ``not-run`` counts for nothing.

    ``first_bad``: the run with which it began to fail, None while it does not. ``flake_rate``: share of runs of the
    same build whose status is not that of the run before.
    """

    requirement: str
    topology: str
    build: str
    runs: int
    passed: int
    low: float
    high: float
    last: str
    first_bad: str | None
    flake_rate: float

    @property
    def rate(self) -> float:
        """Share of the runs that passed; 0 when none showed anything."""
        return self.passed / self.runs if self.runs else 0.0


@dataclass(frozen=True)
class Series:
    """One number over the runs of a topology: (run, value), oldest first; ``p``: see ``CHANGE_TEST``, None: too few."""

    topology: str
    name: str
    context: str
    unit: str
    points: tuple[tuple[str, float], ...]
    recent: float
    before: float | None
    p: float | None

    @property
    def changed(self) -> bool:
        """Whether the last runs differ from those before."""
        return self.p is not None and self.p < SIGNIFICANCE


def trends(runs: Sequence[RunRecord]) -> list[Trend]:
    """Return the trend of every rule that any run has shown; ``runs`` are oldest first."""
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for run in runs:
        for name, status in run.results.items():
            if status != "not-run":
                found[name, run.topology, run.build].append((run.run, status))
    return [_trend(*key, seen) for key, seen in sorted(found.items())]


def _trend(requirement: str, topology: str, build: str, seen: Sequence[tuple[str, str]]) -> Trend:
    statuses = [status for _, status in seen]
    passed = statuses.count("pass")
    flips = sum(one != other for one, other in pairwise(statuses))
    low, high = wilson(passed, len(seen))
    return Trend(
        requirement=requirement,
        topology=topology,
        build=build,
        runs=len(seen),
        passed=passed,
        low=low,
        high=high,
        last=statuses[-1],
        first_bad=_first_bad(seen),
        flake_rate=flips / (len(seen) - 1) if len(seen) > 1 else 0.0,
    )


def _first_bad(seen: Sequence[tuple[str, str]]) -> str | None:
    first = None
    for run, status in reversed(seen):
        if status == "pass":
            break
        first = run
    return first


def series(runs: Sequence[RunRecord]) -> list[Series]:
    """Return every number over the runs of each topology; several of one name and context in a run: their median."""
    found: dict[tuple[str, str, str, str], list[tuple[str, float]]] = defaultdict(list)
    for run in runs:
        values: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
        for item in run.measurements:
            values[run.topology, item.name, _stable(item.context), item.unit].append(item.value)
        for key, several in values.items():
            found[key].append((run.run, statistics.median(several)))
    return [_series(*key, points) for key, points in sorted(found.items())]


def _stable(context: str) -> str:
    """Return a context without its numbers: "12 acknowledged writes lost" is the same context in every run."""
    words = [word for word in context.split() if not any(letter.isdigit() for letter in word.strip("(),"))]
    return " ".join(words) if words else context


def _series(topology: str, name: str, context: str, unit: str, points: Sequence[tuple[str, float]]) -> Series:
    values = [value for _, value in points]
    recent, before = values[-RECENT:], values[:-RECENT][-BEFORE:]
    enough = len(recent) == RECENT and len(before) >= RECENT
    return Series(
        topology=topology,
        name=name,
        context=context,
        unit=unit,
        points=tuple(points),
        recent=statistics.median(recent),
        before=statistics.median(before) if before else None,
        p=mann_whitney(recent, before) if enough else None,
    )


def as_json(runs: Iterable[RunRecord]) -> dict[str, Any]:
    """Return runs, trends and numbers for programs."""
    known = list(runs)
    about = ("run", "topology", "scenario", "stack", "build", "started", "ended", "verdict")
    return {
        "runs": [{name: getattr(run, name) for name in about} for run in known],
        "trends": [{**asdict(item), "rate": item.rate} for item in trends(known)],
        "numbers": [{**asdict(item), "changed": item.changed} for item in series(known)],
        "change_test": CHANGE_TEST,
    }
