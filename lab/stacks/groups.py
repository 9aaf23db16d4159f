"""Replication groups as suites see them: machines that share recovery points and fail over as one (seed L67)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lab.stacks.machines import Operation
from lab.waiting import Deadline


@dataclass(frozen=True)
class SharedPoint:
    """One instant of a whole group; ``members`` is machine to the id of its recovery point."""

    id: str
    application_consistent: bool
    members: Mapping[str, str]


@dataclass(frozen=True)
class GroupStatus:
    """A group at one moment; ``consistent`` is whether multi-VM consistency is on. Shared points are oldest first.

    ``advisories`` are what the stack advises about it, each as ``code: text``.
    """

    name: str
    members: tuple[str, ...]
    consistent: bool
    stall_bound_ms: int
    shared_points: tuple[SharedPoint, ...]
    advisories: tuple[str, ...] = ()


class Groups(Protocol):
    """What a stack can do with groups. Raises NotFound for an unknown one, everywhere."""

    def get(self, name: str) -> GroupStatus:
        """Return a group."""

    def set_consistent(self, name: str, *, consistent: bool) -> Mapping[str, str]:
        """Switch multi-VM consistency; return the job of each member that is told. Raises OperationRefused."""

    def start(self, name: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> Mapping[str, str]:
        """Start an operation of all members, or of none; return the job of each. Raises OperationRefused."""

    def cut_now(self, name: str, deadline: Deadline, *, application: bool = False) -> SharedPoint:
        """Have a shared recovery point made now and wait for it. Raises OperationRefused, JobFailed."""

    def wait_shared_point(self, name: str, known: Sequence[str], deadline: Deadline) -> SharedPoint:
        """Wait for a shared point whose id is not among ``known``. Raises DeadlineExceeded."""
