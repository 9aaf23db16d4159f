"""What a run of a plan can do with its machines, and when there is nothing left to do with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.selection import selector_of
from lab.replication.configuration_server.states import Operation, State


class RunKind(StrEnum):
    """What is done with every machine of the plan."""

    TEST = "test"
    CLEANUP_TEST = "cleanup-test"
    UNPLANNED = "unplanned"
    PLANNED = "planned"
    COMMIT = "commit"
    REPROTECT = "reprotect"
    FAILBACK = "failback"
    COMMIT_FAILBACK = "commit-failback"


_LIFE = (
    State.FAILING_OVER,
    State.COMMIT_PENDING,
    State.CHANGING_RECOVERY_POINT,
    State.CHANGE_RECOVERY_POINT_FAILED,
    State.FAILED_OVER,
    State.REPROTECTING,
    State.REPROTECT_FAILED,
    State.PROTECTED_REVERSE,
    State.FAILING_BACK,
    State.FAILBACK_FAILED,
    State.FAILBACK_COMMIT_PENDING,
    State.FAILED_BACK,
)
"""The way of a machine after a failover: who is further on has what a run wants behind it."""


@dataclass(frozen=True)
class Work:
    """How a kind of run is done: the operation, its arguments, whether scripts and manual actions belong to it."""

    operation: Operation
    arguments: tuple[str, ...] = ()
    with_actions: bool = False
    reached: State | None = None


WORK: Mapping[RunKind, Work] = MappingProxyType(
    {
        RunKind.TEST: Work(Operation.TEST_FAILOVER, ("recovery_point", "networks"), with_actions=True),
        RunKind.CLEANUP_TEST: Work(Operation.CLEANUP_TEST_FAILOVER),
        RunKind.UNPLANNED: Work(
            Operation.FAILOVER,
            ("recovery_point", "shutdown_source"),
            with_actions=True,
            reached=State.COMMIT_PENDING,
        ),
        RunKind.PLANNED: Work(Operation.PLANNED_FAILOVER, with_actions=True, reached=State.COMMIT_PENDING),
        RunKind.COMMIT: Work(Operation.COMMIT, reached=State.FAILED_OVER),
        RunKind.REPROTECT: Work(Operation.REPROTECT, reached=State.PROTECTED_REVERSE),
        RunKind.FAILBACK: Work(
            Operation.FAILBACK,
            ("recovery_point",),
            with_actions=True,
            reached=State.FAILBACK_COMMIT_PENDING,
        ),
        RunKind.COMMIT_FAILBACK: Work(Operation.COMMIT_FAILBACK, reached=State.FAILED_BACK),
    }
)


def check_arguments(kind: RunKind, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the operation does not know, and a point that only one machine can have (domain 2.3).

    Raises:
        BadRequest: there is one.
    """
    known = WORK[kind].arguments
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadRequest(f"unknown argument {unknown[0]!r}; a run of kind {kind} knows {', '.join(known) or 'none'}")
    if "recovery_point" in known and selector_of(arguments).names_one_point:
        raise BadRequest("recovery_point: the id of a point belongs to one machine; a plan needs 'latest' or the like")
    if not isinstance(arguments.get("shutdown_source", False), bool):
        raise BadRequest("shutdown_source: true or false is expected")


def reason_to_skip(kind: RunKind, machine: Machine) -> str | None:
    """Return why nothing is to be done with a machine, or None. A later plan skips what an earlier one has done."""
    if kind is RunKind.TEST and machine.attributes.get("test_failover") == "running":
        return f"{machine.name} has a test machine already"
    if kind is RunKind.CLEANUP_TEST and not machine.has_test_machine:
        return f"{machine.name} has no test machine"
    reached = WORK[kind].reached
    if reached is None or machine.state not in _LIFE:
        return None
    if _LIFE.index(machine.state) >= _LIFE.index(reached):
        return f"{machine.name} is {machine.state} already"
    return None
