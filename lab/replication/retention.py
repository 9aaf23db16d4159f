"""Which recovery points are kept: one pure rule for everybody who has a list of them (domain 2.1, V2S-MT-RETENTION).

All points stay while they are young. After that time is cut into periods, on the clock, and when a whole period is
old enough only one point of it stays: an application-consistent one if there is one, else one that the replication
group shares, else the oldest. Longer periods follow at higher ages. At the end of the window points go.

Ages count from the newest point, not from now: when no new point can be made, nothing becomes older, so old points
are kept past the window (domain 2.1), and the difference between the clocks of two machines does not matter. What
the rule removes at one time it would remove at any later time, whether it was asked in between or not.

Standard library only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

NS = 1_000_000_000
CRASH_CONSISTENT = "crash-consistent"
APPLICATION_CONSISTENT = "application-consistent"
KINDS = (CRASH_CONSISTENT, APPLICATION_CONSISTENT)
HOUR_S = 3600


class Aged(Protocol):
    """What the rule looks at; ``end_ns`` is the end of the cut on the source's clock."""

    @property
    def end_ns(self) -> int:
        """When the cut was complete, in nanoseconds."""

    @property
    def application_consistent(self) -> bool:
        """Whether applications were quiesced."""

    @property
    def shared(self) -> str | None:
        """The id that it shares with other machines of its replication group."""


P = TypeVar("P", bound=Aged)


@dataclass(frozen=True)
class Thinning:
    """From the age ``after_s`` on, one point for each period of ``every_s`` seconds."""

    after_s: int
    every_s: int


STANDARD_THINNING = (
    Thinning(2 * HOUR_S, HOUR_S),
    Thinning(24 * HOUR_S, 2 * HOUR_S),
    Thinning(7 * 24 * HOUR_S, 4 * HOUR_S),
)


@dataclass(frozen=True)
class Retention:
    """How long points are kept, in seconds; 0 keeps only the newest. ``thinning`` goes from young to old."""

    window_s: float
    thinning: tuple[Thinning, ...] = STANDARD_THINNING

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Retention:
        """Read ``retention_s`` and, if it is there, ``pruning`` of an ``open-stream`` command."""
        steps = value.get("pruning")
        if steps is None:
            return cls(float(value["retention_s"]))
        thinning = tuple(Thinning(int(step["after_s"]), int(step["every_s"])) for step in steps)
        return cls(float(value["retention_s"]), thinning)

    @property
    def steps_within_window(self) -> tuple[Thinning, ...]:
        """The steps that begin, for a whole period, before its first point is past the window."""
        return tuple(step for step in self.thinning if step.after_s + step.every_s <= self.window_s)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {"retention_s": self.window_s, "pruning": [asdict(step) for step in self.thinning]}


def thinning_problem(steps: Sequence[Thinning]) -> str | None:
    """Return what is wrong with a schedule, or None: ages and periods grow, and each period is cut up by the last."""
    for step in steps:
        if step.after_s < 0 or step.every_s < 1:
            return "ages and periods have to be positive"
    for before, step in itertools.pairwise(steps):
        if step.after_s <= before.after_s:
            return "each step has to begin at a higher age than the one before"
        if step.every_s % before.every_s or step.every_s == before.every_s:
            return "each period has to be a multiple of the one before"
    return None


def keep(points: Sequence[P], now_ns: int, retention: Retention) -> list[P]:
    """Return the points that stay, in the order in which they came.

    Args:
        points: what there is, oldest first.
        now_ns: the present time; a newest point from the future counts as of now.
        retention: the policy.
    """
    if not points or retention.window_s <= 0:
        return list(points[-1:])
    newest = points[-1]
    anchor = min(now_ns, newest.end_ns)
    steps = retention.steps_within_window
    # The window comes after the choice: a point that was chosen and goes leaves its period empty, at whatever times the
    # rule is asked, because those that were not chosen may be gone already.
    winners: dict[tuple[int, int], P] = {}
    for point in points[:-1]:
        period = _period(point, anchor, steps)
        if period is not None:
            winners[period] = _better(winners.get(period), point)
    return [
        point
        for point in points[:-1]
        if anchor - point.end_ns <= retention.window_s * NS
        and ((period := _period(point, anchor, steps)) is None or winners[period] is point)
    ] + [newest]


def _period(point: Aged, anchor: int, thinning: Sequence[Thinning]) -> tuple[int, int] | None:
    """Return the period of which only one point stays, or None while all of them do."""
    for step in reversed(thinning):
        number = point.end_ns // (step.every_s * NS)
        if (number + 1) * step.every_s * NS <= anchor - step.after_s * NS:
            return step.every_s, number
    return None


def _better(known: P | None, point: P) -> P:
    return point if known is None or _rank(point) > _rank(known) else known


def _rank(point: Aged) -> tuple[bool, bool]:
    return point.application_consistent, point.shared is not None
