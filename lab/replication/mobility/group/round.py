"""What came of a round: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.replication.common.durable import JSON


@dataclass(frozen=True)
class Part:
    """What one member did in a round; times in nanoseconds of its own clock, ``stall_ns`` is how long it held."""

    in_time: bool
    begin_ns: int
    end_ns: int
    stall_ns: int

    @classmethod
    def from_json(cls, value: JSON) -> Part:
        """Read what a member says. Raises KeyError, TypeError, ValueError."""
        return cls(bool(value["in_time"]), *(int(value[key]) for key in ("begin_ns", "end_ns", "stall_ns")))


@dataclass(frozen=True)
class Outcome:
    """The end of a round: the id of the shared point, or why there is none. ``parts`` by member."""

    shared: str | None
    problems: tuple[str, ...]
    parts: Mapping[str, Part]

    def to_json(self) -> JSON:
        """Return the outcome as an event."""
        parts = {name: vars(part) for name, part in self.parts.items()}
        return {"shared": self.shared, "problems": list(self.problems), "parts": parts}


def conclude(round_id: str, members: Sequence[str], parts: Mapping[str, Part], problems: Mapping[str, str]) -> Outcome:
    """Say whether all members were held at one instant.

    Every member says "held" before the coordinator says "release", and goes on only after that unless its bound has
    passed. So if all were in time, there is a moment between the last "held" and the first "release" at which no
    member had a write under way: the common instant.
    """
    late = {name: "went on before all were held" for name, part in parts.items() if not part.in_time}
    silent = {name: "took no part" for name in members if name not in parts}
    causes = {**silent, **late, **problems}
    found = tuple(f"{name}: {cause}" for name, cause in sorted(causes.items()))
    return Outcome(None if causes else round_id, found, parts)
