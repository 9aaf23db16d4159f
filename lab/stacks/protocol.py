"""A replication stack as suites see it: roles, states and operations, never how they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from lab.errors import LabError
from lab.stacks.groups import Groups
from lab.stacks.plans import PlanRun, PlanRunKind, PlanRunState
from lab.waiting import Deadline


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


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StackError(LabError):
    """The stack does not answer, or not as it should."""


class NotAuthorised(StackError):
    """The stack does not accept who asks."""


class NotFound(StackError):
    """The stack knows no such machine, job or policy."""


class InvalidRequest(StackError):
    """The stack does not accept what was sent; the message names the place."""


class OperationRefused(StackError):
    """The operation is illegal now and nothing has changed.

    Args:
        reason: ``operation-refused`` (not in this state), ``not-supported``, ``not-ready``, ``unsupported-system``,
            ``master-target-full``, ``step-too-early`` or ``job-running``.
        operation: what was asked for.
        state: the state of the machine.
        allowed: what is legal now.
        message: why, for people.
    """

    def __init__(self, reason: str, operation: str, state: str, allowed: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.operation = operation
        self.state = state
        self.allowed = tuple(allowed)


class JobFailed(StackError):
    """A job that had to succeed did not; ``job`` has its steps and its error."""

    def __init__(self, job: Job) -> None:
        detail = f"{job.error.type}: {job.error.message}" if job.error else job.state.value
        super().__init__(f"{job.operation} of {job.machine} (job {job.id}) failed: {detail}")
        self.job = job


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


@dataclass(frozen=True)
class ErrorReport:
    """The typed error of a job."""

    type: str
    message: str


@dataclass(frozen=True)
class Step:
    """One step of a job; ``ended_ns`` is None while it runs, ``detail`` says why it failed."""

    name: str
    state: str
    started_ns: int
    ended_ns: int | None
    detail: str | None


@dataclass(frozen=True)
class Job:
    """One operation on one machine, from its start to its end."""

    id: str
    machine: str
    operation: str
    state: JobState
    error: ErrorReport | None
    started_ns: int
    ended_ns: int | None
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float | None:
        """How long it took, or None while it runs."""
        return None if self.ended_ns is None else (self.ended_ns - self.started_ns) / 1e9


@dataclass(frozen=True)
class Event:
    """Something that happened; ids increase."""

    id: int
    time_ns: int
    kind: str
    machine: str | None
    stream: str | None
    component: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Component:
    """A part of the stack that has registered."""

    id: str
    kind: str
    name: str
    addresses: tuple[str, ...]
    last_seen_ns: int | None


@dataclass(frozen=True)
class SetupStep:
    """One step of setting up a deployment: its kind, what it is about, and what is said about it."""

    kind: str
    name: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Discovered:
    """A machine in the inventory of a VMware host; ``name`` is the lab's, ``display_name`` the host's."""

    name: str
    display_name: str
    power: str


@dataclass(frozen=True)
class SiteInventory:
    """What the stack has discovered at one site; ``problem`` says why it does not know now."""

    vcenter: bool
    machines: tuple[Discovered, ...]
    advisories: tuple[str, ...]
    problem: str | None = None


class Stack(Protocol):
    """A replication stack that was deployed."""

    @property
    def groups(self) -> Groups:
        """Its replication groups."""

    @property
    def setup_steps(self) -> Sequence[SetupStep]:
        """What has to be set up before machines can be protected, in its order; nothing without a vault (seed L60)."""

    def steps_done(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the steps that were done, by kind. Raises StackError."""

    def do_step(self, step: SetupStep) -> None:
        """Do one step. Raises OperationRefused when it is too early, InvalidRequest."""

    def set_up(self) -> None:
        """Do the steps that are left, in their order. Raises StackError."""

    def components(self) -> Sequence[Component]:
        """Return the registered parts. Raises StackError."""

    def inventory(self) -> Mapping[str, SiteInventory]:
        """Return what was discovered on VMware hosts, by site (seed L49). Raises StackError."""

    def policy(self, name: str) -> Mapping[str, Any]:
        """Return a policy. Raises NotFound."""

    def put_policy(self, name: str, policy: Mapping[str, Any]) -> Mapping[str, str]:
        """Change a policy for every machine under it; the value says what became of each. Raises InvalidRequest."""

    def protect(self, machine: str, otherwise: Mapping[str, Any] | None = None) -> None:
        """Hand over how a machine is to be protected: as the topology says, but for what ``otherwise`` has.

        Raises InvalidRequest, OperationRefused.
        """

    def start(self, machine: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> str:
        """Start an operation and return the id of its job. Raises OperationRefused, NotFound, InvalidRequest."""

    def run(
        self, machine: str, operation: Operation, deadline: Deadline, arguments: Mapping[str, Any] | None = None
    ) -> Job:
        """Start an operation and wait for its end. Raises OperationRefused, JobFailed, DeadlineExceeded."""

    def cut_now(self, machine: str, deadline: Deadline) -> Job:
        """Have a recovery point made now. Raises OperationRefused, JobFailed, DeadlineExceeded."""

    def machine(self, name: str) -> MachineStatus:
        """Return the present status. Raises NotFound."""

    def machines(self) -> Sequence[MachineStatus]:
        """Return all machines, by name. Raises StackError."""

    def recovery_points(self, name: str) -> Sequence[RecoveryPoint]:
        """Return the recovery points, oldest first. Raises NotFound."""

    def job(self, job: str) -> Job:
        """Return a job. Raises NotFound."""

    def events(self, after: int, wait: float = 0) -> Sequence[Event]:
        """Return the events after a number, waiting up to ``wait`` seconds for one. Raises StackError."""

    def wait_state(self, name: str, *states: MachineState, deadline: Deadline) -> MachineStatus:
        """Wait for one of ``states``. Raises StackError for a failed state that was not asked for, DeadlineExceeded."""

    def wait_status(
        self, name: str, accept: Callable[[MachineStatus], bool], what: str, deadline: Deadline
    ) -> MachineStatus:
        """Wait until ``accept`` is content. Raises DeadlineExceeded."""

    def wait_recovery_point(self, name: str, after_ns: int, deadline: Deadline) -> RecoveryPoint:
        """Wait for a point whose cut began after ``after_ns`` (source's clock). Raises DeadlineExceeded."""

    def wait_job(self, job: str, deadline: Deadline) -> Job:
        """Wait until a job has succeeded. Raises JobFailed, DeadlineExceeded."""

    def put_plan(self, name: str, plan: Mapping[str, Any]) -> None:
        """Store a recovery plan. Raises InvalidRequest, OperationRefused while a run of it is active."""

    def plan(self, name: str) -> Mapping[str, Any]:
        """Return a recovery plan as it was put. Raises NotFound."""

    def delete_plan(self, name: str) -> None:
        """Remove a recovery plan. Raises NotFound, OperationRefused."""

    def start_plan(self, name: str, kind: PlanRunKind, arguments: Mapping[str, Any] | None = None) -> str:
        """Begin a run and return its id. Raises NotFound, InvalidRequest, OperationRefused."""

    def plan_run(self, name: str, run: str) -> PlanRun:
        """Return a run. Raises NotFound."""

    def continue_plan(self, name: str, run: str) -> PlanRun:
        """Say that the manual action a run waits for is done. Raises OperationRefused."""

    def cancel_plan(self, name: str, run: str) -> PlanRun:
        """Begin no further step of a run. Raises OperationRefused."""

    def resume_plan(self, name: str, run: str) -> PlanRun:
        """Do again what failed or was interrupted, and then the rest. Raises OperationRefused."""

    def wait_plan(self, name: str, run: str, *states: PlanRunState, deadline: Deadline) -> PlanRun:
        """Wait for one of ``states``. Raises PlanRunEnded if the run ends in another, DeadlineExceeded."""
