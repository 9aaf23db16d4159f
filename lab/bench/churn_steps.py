"""Which rates of writing are tried, which of them held, and the rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.bench.rows import Row, at_least, beyond, close_to_limit, within
from lab.errors import LabError
from lab.measure.percentiles import p99

NAME = "churn"
MIRRORED = "churn-drbd"
RATE = 5e6
"""Bytes a second on each machine."""
RPO_GOAL = 30.0
ABANDON_SECONDS = 2 * RPO_GOAL
"""A point of this age means RPO_GOAL seconds above the goal, more than one percent of every step: it has failed."""
GROWTH_GOAL = 1.25
RATE_GOAL = 0.95
"""Of the rate that is asked for: else the machine itself was too slow, and the other rows say little."""
FINEST = 0.15
"""Rates nearer to each other than this share of RATE are not told apart."""


@dataclass(frozen=True)
class Step:
    """One rate for a while: what was asked for and really written (bytes a second and machine), ages by machine (s)."""

    asked: float
    written: float
    ages: Mapping[str, Sequence[float]]
    broke: str = ""
    """Why the step was ended early; empty: it was not."""

    @property
    def p99(self) -> float:
        """The 99th percentile of the age of the newest point over all machines, in seconds."""
        return p99([age for own in self.ages.values() for age in own])

    @property
    def halves(self) -> list[tuple[float, float]]:
        """The same for the second and the first half of the step, by machine."""
        return [(p99(own[len(own) // 2 :]), p99(own[: len(own) // 2])) for own in self.ages.values()]

    @property
    def holds(self) -> bool:
        """Whether points stayed young and did not grow older and older."""
        growth = max(late / early for late, early in self.halves)
        return not self.broke and self.p99 <= RPO_GOAL and growth <= GROWTH_GOAL

    @property
    def told(self) -> str:
        """One line for whoever looks on."""
        verdict = "holds" if self.holds else f"does not hold{f' ({self.broke})' if self.broke else ''}"
        return f"{self.written / 1e6:.2f} MB/s on each machine: p99 {self.p99:.1f} s, {verdict}"


def next_rate(steps: Sequence[Step], most: int) -> float | None:
    """Return the next rate to try (bytes a second), None when enough is known: RATE first, then halves of the rest."""
    if not steps:
        return RATE
    held = max((step.asked for step in steps if step.holds), default=0.0)
    broken = min((step.asked for step in steps if not step.holds), default=None)
    if broken is None or len(steps) >= most or broken - held <= FINEST * RATE:
        return None
    return (held + broken) / 2


def rows(steps: Sequence[Step]) -> list[Row]:
    """Return the rows: those of the rate that is the goal, which is the first, and the largest rate that held."""
    first = steps[0]
    return [
        within(f"{NAME}-rpo-p99", "s", first.p99, RPO_GOAL),
        close_to_limit(f"{NAME}-rpo-growth", "s", first.halves, GROWTH_GOAL),
        at_least(f"{NAME}-rate", "MB/s", [(first.written / 1e6, RATE / 1e6)], RATE_GOAL),
        beyond(f"{NAME}-sustained", "MB/s", [sustained(steps) / 1e6], RATE_GOAL * RATE / 1e6),
    ]


def beside(ours: Sequence[Step], mirrored: Sequence[Step]) -> Row:
    """Return the row of the largest rates that held, the stack's and DRBD's. No goal is stated."""
    own, other = sustained(ours) / 1e6, sustained(mirrored) / 1e6
    if not other:
        raise LabError(f"DRBD followed at no rate: {'; '.join(step.told for step in mirrored)}")
    worst = max(step.p99 for step in mirrored if step.holds)
    note = f"DRBD 8.4, protocol A, not encrypted; its copy was {worst:.1f} s behind at most (p99)"
    return Row(MIRRORED, "MB/s", own, other, None, own / other, None, None, 1, None, note)


def sustained(steps: Sequence[Step]) -> float:
    """Return the largest rate that was really written while points stayed young, 0 if there is none."""
    return max((step.written for step in steps if step.holds), default=0.0)
