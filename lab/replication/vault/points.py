"""What the vault knows for sure about one stream: what is merged, as which ETags, and which snapshots are points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lab.replication.common.durable import JSON
from lab.replication.master_target.points import Point


@dataclass(frozen=True)
class ReplicaPoint:
    """A recovery point: one snapshot for each disk index."""

    point: Point
    snapshots: Mapping[int, str]

    @property
    def id(self) -> str:
        """The id under which it was published."""
        return self.point.id

    @property
    def sequence(self) -> int:
        """The document after which the snapshots were made."""
        return self.point.sequence

    @property
    def end_ns(self) -> int:
        """When the cut was complete, on the source's clock."""
        return self.point.end_ns

    @property
    def application_consistent(self) -> bool:
        """Whether applications were quiesced."""
        return self.point.application_consistent

    @property
    def shared(self) -> str | None:
        """The id that it shares with the other members of its group."""
        return self.point.shared

    def whole(self, present: Mapping[int, frozenset[str]]) -> bool:
        """Return whether all its snapshots are among those that are there."""
        return all(snapshot in present.get(disk, ()) for disk, snapshot in self.snapshots.items())


@dataclass(frozen=True)
class MergeState:
    """All documents through ``merged`` are in the blobs, whose ETags are ``etags``; ``points`` from old to new."""

    merged: int = 0
    etags: Mapping[int, str] | None = None
    points: tuple[ReplicaPoint, ...] = ()

    @classmethod
    def from_json(cls, value: JSON) -> MergeState:
        """Read what ``to_json`` made."""
        points = tuple(
            ReplicaPoint(Point.from_json(item), _numbered(item["snapshots"])) for item in value.get("points", ())
        )
        etags = value.get("etags")
        return cls(int(value["merged"]), None if etags is None else _numbered(etags), points)

    def to_json(self) -> JSON:
        """Return the state as it is stored."""
        return {
            "merged": self.merged,
            "etags": None if self.etags is None else {str(disk): etag for disk, etag in self.etags.items()},
            "points": [{**each.point.to_json(), "snapshots": dict(each.snapshots)} for each in self.points],
        }

    def find(self, point_id: str) -> ReplicaPoint | None:
        """Return the point with this id."""
        return next((each for each in self.points if each.id == point_id), None)

    def with_point(self, new: ReplicaPoint) -> MergeState:
        """Return the state with one more point; one of the same number is replaced."""
        others = [each for each in self.points if each.sequence != new.sequence]
        return replace(self, points=tuple(sorted([*others, new], key=lambda each: each.sequence)))

    def without(self, gone: Sequence[ReplicaPoint]) -> MergeState:
        """Return the state without some points."""
        return replace(self, points=tuple(each for each in self.points if each not in gone))


def restart_point(state: MergeState, present: Mapping[int, frozenset[str]], oldest_kept: int) -> ReplicaPoint | None:
    """Return the newest point from which the present content can be made again.

    Args:
        state: what is known.
        present: the snapshots that the storage has, for each disk.
        oldest_kept: documents through this one are not in the journal any more.
    """
    usable = (each for each in reversed(state.points) if each.sequence >= oldest_kept and each.whole(present))
    return next(usable, None)


def _numbered(value: Mapping[str, str]) -> dict[int, str]:
    return {int(key): str(item) for key, item in value.items()}
