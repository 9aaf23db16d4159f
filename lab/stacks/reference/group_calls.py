"""The calls about replication groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from lab.stacks.groups import GroupStatus, SharedPoint
from lab.stacks.jobs import Job
from lab.stacks.machines import Operation
from lab.waiting import Deadline

T = TypeVar("T")


class Caller(Protocol):
    """The client that these calls are part of."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a call and return the JSON of the answer."""

    def wait(self, look: Callable[[], T], accept: Callable[[T], bool], what: str, deadline: Deadline) -> T:
        """Look again after every event until the value is accepted."""

    def wait_job(self, job: str, deadline: Deadline) -> Job:
        """Wait until a job has succeeded."""


class GroupCalls:
    """Implements ``lab.stacks.groups.Groups``."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def put(self, name: str, group: Mapping[str, Any]) -> Mapping[str, str]:
        """Store a group; return the job of each member that is told. Raises InvalidRequest, OperationRefused."""
        jobs: dict[str, str] = self._caller.call("PUT", f"/v1/groups/{name}", group)["jobs"]
        return jobs

    def get(self, name: str) -> GroupStatus:
        """Return a group. Raises NotFound."""
        value = self._document(name)
        return GroupStatus(
            name=value["name"],
            members=tuple(member["name"] for member in value["members"]),
            consistent=value["consistent"],
            stall_bound_ms=value["stall_bound_ms"],
            shared_points=tuple(_shared(point) for point in value["shared_points"]),
            advisories=tuple(value["advisories"]),
        )

    def set_consistent(self, name: str, *, consistent: bool) -> Mapping[str, str]:
        """Switch multi-VM consistency; return the job of each member that is told. Raises OperationRefused."""
        known = self._document(name)
        kept = {key: known[key] for key in ("members", "stall_bound_ms")}
        return self.put(name, {**kept, "consistent": consistent})

    def start(self, name: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> Mapping[str, str]:
        """Start an operation of all members, or of none; return the job of each. Raises OperationRefused."""
        path = f"/v1/groups/{name}/operations/{operation}"
        jobs: dict[str, str] = self._caller.call("POST", path, arguments or {})["jobs"]
        return jobs

    def cut_now(self, name: str, deadline: Deadline, *, application: bool = False) -> SharedPoint:
        """Have a shared recovery point made now and wait for it. Raises OperationRefused, JobFailed."""
        known = [point.id for point in self.get(name).shared_points]
        job = self._caller.call("POST", f"/v1/groups/{name}/cut", {"application": application})["job"]
        self._caller.wait_job(str(job), deadline)
        while True:
            point = self.wait_shared_point(name, known, deadline)
            # A round of the group's own may have come in between.
            if point.application_consistent or not application:
                return point
            known.append(point.id)

    def wait_shared_point(self, name: str, known: Sequence[str], deadline: Deadline) -> SharedPoint:
        """Wait for a shared point whose id is not among ``known``. Raises DeadlineExceeded."""

        def fresh(group: GroupStatus) -> list[SharedPoint]:
            return [point for point in group.shared_points if point.id not in known]

        found = self._caller.wait(
            lambda: self.get(name), lambda group: bool(fresh(group)), f"shared recovery point of {name}", deadline
        )
        return fresh(found)[-1]

    def _document(self, name: str) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._caller.call("GET", f"/v1/groups/{name}")
        return value


def _shared(value: Mapping[str, Any]) -> SharedPoint:
    members = {name: point["id"] for name, point in value["members"].items()}
    return SharedPoint(value["id"], value["kind"] == "application-consistent", members)
