"""Protected machines as suites see them: what can be done with one, where it is in its life, how it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Operation(StrEnum):
    """What can be done with a protected machine (seed L58-79)."""

    PUSH_INSTALL = "push-install"
    ENABLE = "enable"
    DISABLE = "disable"
    RESYNCHRONISE = "resynchronise"
    MOVE = "move"
    GROW_DISKS = "grow-disks"
    TEST_FAILOVER = "test-failover"
    CLEANUP_TEST_FAILOVER = "cleanup-test-failover"
    FAILOVER = "failover"
    PLANNED_FAILOVER = "planned-failover"
    CHANGE_RECOVERY_POINT = "change-recovery-point"
    COMMIT = "commit"
    REPROTECT = "reprotect"
    FAILBACK = "failback"
    COMMIT_FAILBACK = "commit-failback"


class MachineState(StrEnum):
    """Where a machine is in its life (domain 2.2)."""

    UNPROTECTED = "unprotected"
    ENABLING = "enabling"
    ENABLING_FAILED = "enabling-failed"
    INITIAL_REPLICATION = "initial-replication"
    PROTECTED = "protected"
    FAILING_OVER = "failing-over"
    FAILOVER_FAILED = "failover-failed"
    COMMIT_PENDING = "commit-pending"
    CHANGING_RECOVERY_POINT = "changing-recovery-point"
    CHANGE_RECOVERY_POINT_FAILED = "change-recovery-point-failed"
    FAILED_OVER = "failed-over"
    REPROTECTING = "reprotecting"
    REPROTECT_FAILED = "reprotect-failed"
    PROTECTED_REVERSE = "protected-reverse"
    FAILING_BACK = "failing-back"
    FAILBACK_FAILED = "failback-failed"
    FAILBACK_COMMIT_PENDING = "failback-commit-pending"
    FAILED_BACK = "failed-back"
    DISABLING = "disabling"
    DISABLING_FAILED = "disabling-failed"

    @property
    def is_failure(self) -> bool:
        """Whether an operation has failed and waits for a retry."""
        return self.value.endswith("-failed")


@dataclass(frozen=True)
class Health:
    """What the stack says about a machine's replication: healthy, warning or critical, and why."""

    status: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoveryPoint:
    """A recovery point; the cut's times are on the clock of the machine that made it."""

    id: str
    stream: str
    sequence: int | None
    begin_ns: int
    end_ns: int
    published_ns: int


@dataclass(frozen=True)
class MachineStatus:
    """A machine at one moment.

    ``behind_bytes``: how much of what it has written its replica does not hold yet; None from a stack that tells by
    recovery points instead.
    """

    name: str
    state: MachineState
    health: Health
    allowed: tuple[str, ...]
    rpo_seconds: float | None
    recovery_points: int
    direction: str | None
    resynchronising: bool
    test_machine: str | None
    test_failover: str | None
    job: str | None
    behind_bytes: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
