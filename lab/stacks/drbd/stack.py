"""DRBD as suites see a stack: the states of machines, operations as jobs, what the kernel's log tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from lab.stacks.drbd import journal
from lab.stacks.drbd.jobs import Jobs
from lab.stacks.drbd.operations import Operations
from lab.stacks.drbd.status import Pair, allowed, health_of, state_of
from lab.stacks.errors import NotFound, OperationRefused
from lab.stacks.jobs import Job, JobFailed, JobState
from lab.stacks.machines import MachineState, MachineStatus, Operation
from lab.stacks.protocol import Event
from lab.stacks.refusing import NoGroups, NoPlans, NoPoints, NoServers, not_supported
from lab.waiting import Deadline, wait_until

UNDER_WAY = {
    Operation.ENABLE: MachineState.ENABLING,
    Operation.DISABLE: MachineState.DISABLING,
    Operation.FAILOVER: MachineState.FAILING_OVER,
    Operation.REPROTECT: MachineState.REPROTECTING,
    Operation.FAILBACK: MachineState.FAILING_BACK,
}
POLL_S = 0.5
LOG_SECONDS = 60.0


class DrbdStack(NoPoints, NoPlans, NoServers):
    """Operates pairs over SSH, as an administrator would.

    Args:
        pairs: by the name of the protected machine.
    """

    def __init__(self, pairs: Mapping[str, Operations]) -> None:
        self._pairs = pairs
        self._jobs = Jobs()
        self.groups = NoGroups()

    def __enter__(self) -> Self:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for the job that runs."""
        self._jobs.close()

    def protect(self, machine: str, otherwise: Mapping[str, Any] | None = None) -> None:
        """Do nothing: the topology has said it all. Raises NotFound, OperationRefused for anything else."""
        self._pair(machine)
        if otherwise:
            not_supported("protect", f"settings beside the topology's: {', '.join(otherwise)}")

    def start(self, machine: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> str:
        """Start an operation and return the id of its job. Raises OperationRefused, NotFound."""
        status, legal = self.machine(machine), self.machine(machine).allowed
        if status.job is not None:
            raise OperationRefused("job-running", operation, status.state, legal, f"{status.job} runs on {machine}")
        if (arguments or {}).get("recovery_point", "latest") != "latest":
            not_supported(operation, "there is no state but the latest", status.state, legal)
        try:
            steps = self._pair(machine).steps(operation)
        except KeyError:
            not_supported(operation, "DRBD has no such operation", status.state, legal)
        if operation not in legal:
            message = f"{operation} of {machine} is not allowed while it is {status.state}"
            raise OperationRefused("operation-refused", operation, status.state, legal, message)
        return self._jobs.start(machine, operation, steps)

    def run(
        self, machine: str, operation: Operation, deadline: Deadline, arguments: Mapping[str, Any] | None = None
    ) -> Job:
        """Start an operation and wait for its end. Raises OperationRefused, JobFailed, DeadlineExceeded."""
        return self.wait_job(self.start(machine, operation, arguments), deadline)

    def machine(self, name: str) -> MachineStatus:
        """Return the present status. Raises NotFound."""
        # The job first: one that ends in between has left its traces in what both sides say.
        job = self._jobs.newest_of(name)
        return status_of(name, self._pair(name).pair(), job)

    def machines(self) -> Sequence[MachineStatus]:
        """Return all machines, by name."""
        return [self.machine(name) for name in sorted(self._pairs)]

    def job(self, job: str) -> Job:
        """Return a job. Raises NotFound."""
        return self._jobs.get(job)

    def wait_job(self, job: str, deadline: Deadline) -> Job:
        """Wait until a job has succeeded. Raises JobFailed, DeadlineExceeded."""
        return self._jobs.wait(job, deadline)

    def events(self, after: int, wait: float = 0) -> Sequence[Event]:
        """Return what the logs of all standbys tell, after a number. Numbers are of this moment's logs.

        The standby's, since it keeps running when its source loses its power; its log begins with its last start.
        """
        until = Deadline.after(wait)
        while True:
            found = [event for event in self._logged() if event.id > after]
            if found or until.expired:
                return found
            threading.Event().wait(until.clamp(POLL_S))

    def wait_state(self, name: str, *states: MachineState, deadline: Deadline) -> MachineStatus:
        """Wait for one of ``states``. Raises JobFailed for a job that was to lead there, DeadlineExceeded."""

        def reached(status: MachineStatus) -> bool:
            job = self._jobs.newest_of(name)
            if status.state not in states and job is not None and job.state is JobState.FAILED:
                raise JobFailed(job)
            return status.state in states

        return self.wait_status(name, reached, f"{name} in state {' or '.join(states)}", deadline)

    def wait_status(
        self, name: str, accept: Callable[[MachineStatus], bool], what: str, deadline: Deadline
    ) -> MachineStatus:
        """Wait until ``accept`` is content. Raises DeadlineExceeded."""
        last: list[MachineStatus] = []

        def look() -> MachineStatus | None:
            last[:] = [self.machine(name)]
            return last[0] if accept(last[0]) else None

        return wait_until(look, deadline, what, every=POLL_S, explain=lambda: str(last[0]))

    def _logged(self) -> list[Event]:
        found = []
        for name, pair in sorted(self._pairs.items()):
            log = pair.standby.machine.ssh.run(*journal.ARGUMENTS, seconds=LOG_SECONDS).stdout
            found += list(journal.events(log.splitlines(), name, name))
        return found

    def _pair(self, name: str) -> Operations:
        if name not in self._pairs:
            raise NotFound(f"DRBD mirrors no machine {name}; there are: {', '.join(sorted(self._pairs))}")
        return self._pairs[name]


def status_of(name: str, pair: Pair, newest: Job | None) -> MachineStatus:
    """Return the status of a machine from what both sides say, and its newest job. Pure."""
    job = newest if newest is not None and newest.state is JobState.RUNNING else None
    state = state_of(pair) if job is None else UNDER_WAY[Operation(job.operation)]
    active = pair.active
    reverse = pair.standby is not None and pair.standby.primary
    return MachineStatus(
        name=name,
        state=state,
        health=health_of(pair, state),
        allowed=allowed(state) if job is None else (),
        rpo_seconds=None,
        recovery_points=0,
        direction=None if active is None else "reverse" if reverse else "forward",
        resynchronising=active is not None and active.synchronising and state is MachineState.PROTECTED,
        test_machine=None,
        test_failover=None,
        job=None if job is None else job.id,
        behind_bytes=pair.behind_bytes,
        attributes={"stream": name},
    )
