"""Which instants all members of a group have a recovery point of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.sessions import Point

LATEST_SHARED = "latest-shared"
LATEST_SHARED_APPLICATION = "latest-shared-application-consistent"


@dataclass(frozen=True)
class SharedPoint:
    """One instant of a whole group: the point of each member."""

    id: str
    points: Mapping[str, Point]

    @property
    def application_consistent(self) -> bool:
        """Whether the applications of all members were quiet."""
        return all(point.application_consistent for point in self.points.values())

    def to_json(self) -> dict[str, Any]:
        """Return what operators see."""
        members = {name: point.to_json() for name, point in sorted(self.points.items())}
        kind = "application-consistent" if self.application_consistent else "crash-consistent"
        return {"id": self.id, "kind": kind, "members": members}


def shared_points(points: Mapping[str, Sequence[Point]]) -> list[SharedPoint]:
    """Return the shared points, oldest first.

    Args:
        points: the points of every member, oldest first. What one member lacks is shared by nobody.
    """
    by_member = {name: {point.shared: point for point in found if point.shared} for name, found in points.items()}
    if not by_member:
        return []
    first = next(iter(by_member.values()))
    common = set(first).intersection(*by_member.values())
    return [
        SharedPoint(name, {member: found[name] for member, found in by_member.items()})
        for name in first
        if name is not None and name in common
    ]


def showing(shared: Sequence[SharedPoint], shown: Mapping[str, str]) -> list[SharedPoint]:
    """Return the shared points of which members show their part already: point ids by member."""
    return [point for point in shared if all(point.points[name].id == own for name, own in shown.items())]


def choose(shared: Sequence[SharedPoint], wanted: str) -> SharedPoint | None:
    """Return the shared point that is meant: one of the two words above, or an id; None when there is none."""
    for point in reversed(shared):
        if wanted in (LATEST_SHARED, point.id):
            return point
        if wanted == LATEST_SHARED_APPLICATION and point.application_consistent:
            return point
    return None
