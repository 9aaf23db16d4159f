"""Which recovery point is meant: the choices of a failover as values, and the pure function that finds the point.

``recovery_point`` of a failover, a test failover, a change of the point, a failback and a plan's run is one of
- ``"latest"``: everything that the process server has is applied first (lowest RPO, domain 2.3);
- ``"latest-processed"``: the newest point that is there already (lowest RTO);
- ``"latest-application-consistent"``: the newest point for which the applications were quiesced;
- ``"latest-shared"``, ``"latest-shared-application-consistent"``: the newest one that the replication group shares;
- ``{"time": "2026-01-31T12:00:00+00:00"}`` or ``{"time_ns": N}``: the newest whose cut was complete by then, on the
  source's clock;
- anything else: the id of a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.parsing import Reader
from lab.replication.configuration_server.sessions import Point

NS = 10**9
MOST_NS = 1 << 62
LATEST = "latest"
LATEST_PROCESSED = "latest-processed"
_NEWEST_OF: Mapping[str, Callable[[Point], bool]] = {
    LATEST: lambda _: True,
    LATEST_PROCESSED: lambda _: True,
    "latest-application-consistent": lambda point: point.application_consistent,
    "latest-shared": lambda point: point.shared is not None,
    "latest-shared-application-consistent": lambda point: point.shared is not None and point.application_consistent,
}


class NoSuchPoint(LookupError):
    """There is no recovery point that the selector means; the message says what was looked for."""


@dataclass(frozen=True)
class Selector:
    """A choice: a word of the list above, the id of a point, or a time (nanoseconds of the source's clock)."""

    word: str = LATEST
    time_ns: int | None = None

    @property
    def wants_all_data(self) -> bool:
        """Whether what the process server still has must be applied before the choice."""
        return self.word == LATEST and self.time_ns is None

    @property
    def names_one_point(self) -> bool:
        """Whether it is the id of a point, which only one machine has."""
        return self.time_ns is None and self.word not in _NEWEST_OF

    def __str__(self) -> str:
        """Return it for messages."""
        if self.time_ns is not None:
            return f"a recovery point of {datetime.fromtimestamp(self.time_ns / NS, UTC).isoformat()} or before"
        return f"recovery point {self.word!r}"


def parse_selector(value: object) -> Selector:
    """Read ``recovery_point``; None means the latest.

    Raises:
        BadRequest: it is neither a text nor an object with a time.
    """
    if value is None:
        return Selector()
    if isinstance(value, str) and value:
        return Selector(value)
    reader = Reader.of(value, "recovery_point")
    reader.only("time", "time_ns")
    if reader.has("time_ns"):
        return Selector("", reader.integer("time_ns", 0, MOST_NS))
    return Selector("", _nanoseconds(reader.text("time")))


def selector_of(arguments: Mapping[str, Any]) -> Selector:
    """Read ``recovery_point`` of an operation's arguments. Raises BadRequest."""
    return parse_selector(arguments.get("recovery_point"))


def select(points: Sequence[Point], selector: Selector) -> Point:
    """Return the point that is meant.

    Args:
        points: what there is, oldest first.
        selector: what is wanted.

    Raises:
        NoSuchPoint: there is none.
    """
    for point in reversed(points):
        if _fits(point, selector):
            return point
    raise NoSuchPoint(f"there is no {selector}" if points else "there is no recovery point")


def _fits(point: Point, selector: Selector) -> bool:
    if selector.time_ns is not None:
        return point.end_ns <= selector.time_ns
    newest_of = _NEWEST_OF.get(selector.word)
    return point.id == selector.word if newest_of is None else newest_of(point)


def _nanoseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(
            f"recovery_point.time: a time such as 2026-01-31T12:00:00+00:00 is expected: {error}"
        ) from error
    if moment.tzinfo is None:
        raise BadRequest("recovery_point.time: a time zone is needed, such as +00:00")
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * NS + moment.microsecond * 1000
