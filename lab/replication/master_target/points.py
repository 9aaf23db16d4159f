"""The recovery points of one stream: one small durable file each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.replication.changeset import CutTime, Head
from lab.replication.common.durable import JSON, read_json, sync_directory, write_json
from lab.replication.retention import APPLICATION_CONSISTENT, CRASH_CONSISTENT


@dataclass(frozen=True)
class Point:
    """A recovery point: the replica after document ``sequence``; ``cut`` is on the source's clock.

    ``kind`` is ``crash-consistent`` or ``application-consistent``; ``shared`` is the id under which every member of a
    replication group has a point of this instant.
    """

    id: str
    sequence: int
    cut: CutTime
    kind: str = CRASH_CONSISTENT
    shared: str | None = None

    @property
    def end_ns(self) -> int:
        """When the cut was complete, on the source's clock."""
        return self.cut.end_ns

    @property
    def application_consistent(self) -> bool:
        """Whether applications were quiesced."""
        return self.kind == APPLICATION_CONSISTENT

    @classmethod
    def of(cls, head: Head) -> Point | None:
        """Return the point that a document completes, if it does."""
        if head.recovery_point is None or head.cut is None:
            return None
        return cls(head.recovery_point, head.sequence, head.cut, head.point_kind, head.shared)

    def to_json(self) -> JSON:
        """Return the point as it is stored and as events carry it."""
        return {
            "recovery_point": self.id,
            "sequence": self.sequence,
            "cut": vars(self.cut),
            "kind": self.kind,
            "shared": self.shared,
        }

    @classmethod
    def from_json(cls, value: JSON) -> Point:
        """Read what ``to_json`` made."""
        cut = value["cut"]
        return cls(
            str(value["recovery_point"]),
            int(value["sequence"]),
            CutTime(int(cut["begin_ns"]), int(cut["end_ns"]), str(cut["time"])),
            str(value.get("kind", CRASH_CONSISTENT)),
            value.get("shared"),
        )


class PointStore:
    """All points that can be rolled to, oldest first."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        stored = [read_json(path) for path in sorted(directory.glob("[0-9]*.json"))]
        self._points = {point.sequence: point for point in map(Point.from_json, filter(None, stored))}

    def all(self) -> list[Point]:
        """Return the points, oldest first."""
        return [self._points[sequence] for sequence in sorted(self._points)]

    def any_before(self, sequence: int) -> bool:
        """Return whether there is a point that undoing document ``sequence`` would help to reach."""
        return any(known < sequence for known in self._points)

    def find(self, point_id: str) -> Point | None:
        """Return the point with this id."""
        return next((point for point in self._points.values() if point.id == point_id), None)

    def add(self, point: Point) -> None:
        """Store a point durably."""
        write_json(self._path(point.sequence), point.to_json())
        self._points[point.sequence] = point

    def remove(self, points: list[Point]) -> None:
        """Forget points, newest first; durably, because what is needed to reach them may be deleted next."""
        for point in sorted(points, key=lambda p: -p.sequence):
            self._path(point.sequence).unlink(missing_ok=True)
            self._points.pop(point.sequence, None)
        if points:
            sync_directory(self._directory)

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:012}.json"
