"""A replication stack as suites see it: roles, states and operations, never how they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lab.stacks.deployment import Component, SetupStep, SiteInventory
from lab.stacks.groups import Groups
from lab.stacks.jobs import Job
from lab.stacks.machines import MachineState, MachineStatus, Operation, RecoveryPoint
from lab.stacks.plans import PlanRun, PlanRunKind, PlanRunState
from lab.waiting import Deadline


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
