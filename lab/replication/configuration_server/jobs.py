"""Jobs: every operation is one, a sequence of named steps with times, and the only thing that changes a state."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import JobError, OperationRefused, Unknown
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.states import (
    UNSUPPORTED,
    Operation,
    State,
    Transition,
)
from lab.replication.configuration_server.steps import Steps

log = logging.getLogger(__name__)

RUNNING = "running"
MARKS_OF_FAILURE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        Operation.TEST_FAILOVER.value: {"test_failover": "failed"},
        Operation.CLEANUP_TEST_FAILOVER.value: {"test_failover": "cleanup-failed"},
    }
)


class Procedure(Protocol):
    """How one operation is done."""

    def check(self, machine: Machine, arguments: Mapping[str, Any]) -> None:
        """Raise BadRequest or OperationRefused when it cannot be started; changes nothing."""

    async def run(self, machine: Machine, arguments: Mapping[str, Any], steps: Steps) -> Mapping[str, Any] | None:
        """Do it, and return what is to be remembered of the machine now that it is done.

        It is stored together with the success of the job: after a crash there are both or neither.

        Raises:
            JobError: it could not be done.
        """


@dataclass(frozen=True)
class _Running:
    number: int
    machine: str
    operation: Operation
    transition: Transition


class JobRunner:
    """Starts operations, at most one for each machine, and moves machines from state to state."""

    def __init__(
        self,
        database: Database,
        machines: MachineTable,
        events: EventLog,
        procedures: Mapping[Operation, Procedure],
        settle: Callable[[str], object],
    ) -> None:
        self._database = database
        self._machines = machines
        self._events = events
        self._procedures = procedures
        self._settle = settle
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, operation: str, arguments: Mapping[str, Any]) -> int:
        """Begin an operation and return the number of its job.

        Raises:
            Unknown: no such machine or operation.
            BadRequest: the arguments are wrong.
            OperationRefused: it is not legal now; nothing has changed.
        """
        machine = self._machines.get(name)
        wanted, transition = self._checked(machine, operation, arguments)
        procedure = self._procedures[wanted]
        with self._database.transaction():
            job = _Running(self._record(name, wanted, arguments, transition), name, wanted, transition)
            self._move(machine.name, transition.during)
            self._announce(job, RUNNING)
            # Whoever starts several jobs as one does so in an outer transaction: nothing may begin before its end.
            self._database.afterwards(lambda: self._spawn(job, procedure, arguments))
        return job.number

    def recover(self) -> None:
        """Mark what an earlier run of this server did not finish as interrupted; it can be started again."""
        with self._database.transaction():
            for row in self._database.rows("SELECT * FROM jobs WHERE state = ?", RUNNING):
                failed = State(row["failed_state"])
                transition = Transition(failed, failed, failed)
                job = _Running(row["id"], row["machine"], Operation(row["operation"]), transition)
                self._database.write(
                    "UPDATE steps SET state = 'interrupted', ended_ns = ? WHERE job = ? AND state = 'running'",
                    time.time_ns(),
                    job.number,
                )
                self._fail(job, "interrupted", "interrupted", "the configuration server was restarted")

    def get(self, number: int) -> dict[str, Any]:
        """Return a job with its steps.

        Raises:
            Unknown: there is none.
        """
        row = self._database.row("SELECT * FROM jobs WHERE id = ?", number)
        if row is None:
            raise Unknown(f"no job {number}")
        steps = self._database.rows("SELECT * FROM steps WHERE job = ? ORDER BY position", number)
        return {
            **_summary(row),
            "steps": [{key: step[key] for key in step.keys() if key != "job"} for step in steps],  # noqa: SIM118
        }

    def recent(self, most: int, machine: str | None = None) -> list[dict[str, Any]]:
        """Return the last jobs, of one machine or of all, newest first, without their steps."""
        rows = self._database.rows(
            "SELECT * FROM jobs WHERE machine = coalesce(?, machine) ORDER BY id DESC LIMIT ?", machine, most
        )
        return [_summary(row) for row in rows]

    def running(self, machine: str) -> str | None:
        """Return the number of the job that a machine has now."""
        row = self._database.row("SELECT id FROM jobs WHERE machine = ? AND state = ?", machine, RUNNING)
        return None if row is None else str(row["id"])

    def refuse_busy(self, machine: Machine, operation: str) -> None:
        """Raise OperationRefused while a machine has a job."""
        busy = self.running(machine.name)
        if busy is not None:
            message = f"job {busy} of {machine.name} is still running"
            raise OperationRefused("job-running", operation, machine.state, (), message)

    async def close(self) -> None:
        """Stop in the middle, as a crash would; ``recover`` of the next run tells about it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _checked(self, machine: Machine, operation: str, arguments: Mapping[str, Any]) -> tuple[Operation, Transition]:
        wanted = self._known(machine, operation)
        transition = self._legal(machine, wanted)
        self._procedures[wanted].check(machine, arguments)
        return wanted, transition

    def _known(self, machine: Machine, operation: str) -> Operation:
        allowed = machine.allowed
        refused = UNSUPPORTED[machine.family].get(operation)
        if refused is not None:
            raise OperationRefused("not-supported", operation, machine.state, allowed, refused)
        try:
            return Operation(operation)
        except ValueError:
            raise Unknown(f"no operation {operation!r}; known are {', '.join(Operation)}") from None

    def _legal(self, machine: Machine, operation: Operation) -> Transition:
        allowed = machine.allowed
        transition = machine.transition(operation)
        if transition is None:
            message = f"{operation} is not allowed while {machine.name} is {machine.state}"
            raise OperationRefused("operation-refused", operation, machine.state, allowed, message)
        self.refuse_busy(machine, operation)
        return transition

    def _spawn(self, job: _Running, procedure: Procedure, arguments: Mapping[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._execute(job, procedure, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, job: _Running, procedure: Procedure, arguments: Mapping[str, Any]) -> None:
        try:
            steps = Steps(self._database, job.number)
            results = await procedure.run(self._machines.get(job.machine), arguments, steps)
        except JobError as error:
            self._fail(job, "failed", error.kind, str(error))
        except Exception as error:  # a defect must end the job, not leave the machine in the middle for ever
            log.exception("job %d failed", job.number)
            self._fail(job, "failed", "internal-error", f"{type(error).__name__}: {error}")
        else:
            self._succeed(job, results or {})

    def _record(self, name: str, operation: Operation, arguments: Mapping[str, Any], transition: Transition) -> int:
        return self._database.write(
            "INSERT INTO jobs (machine, operation, arguments, state, created_ns, failed_state) "
            "VALUES (?, ?, ?, 'running', ?, ?)",
            name,
            operation.value,
            json.dumps(arguments),
            time.time_ns(),
            transition.failed.value,
        )

    def _succeed(self, job: _Running, results: Mapping[str, Any]) -> None:
        with self._database.transaction():
            self._database.write(
                "UPDATE jobs SET state = 'succeeded', ended_ns = ? WHERE id = ?", time.time_ns(), job.number
            )
            self._move(job.machine, job.transition.done)
            self._machines.remember(job.machine, **{**results, "last_error": None})
            self._announce(job, "succeeded")
            self._settle(job.machine)

    def _fail(self, job: _Running, state: str, kind: str, message: str) -> None:
        error = {"type": kind, "message": message}
        with self._database.transaction():
            self._database.write(
                "UPDATE jobs SET state = ?, ended_ns = ?, error_type = ?, error_message = ? WHERE id = ?",
                state,
                time.time_ns(),
                kind,
                message,
                job.number,
            )
            self._move(job.machine, job.transition.failed)
            marks = MARKS_OF_FAILURE.get(job.operation.value, {})
            self._machines.remember(job.machine, last_error={"operation": job.operation.value, **error}, **marks)
            self._announce(job, state, error=error)

    def _move(self, machine: str, state: State) -> None:
        before = self._machines.get(machine).state
        if before is not state:
            self._machines.set_state(machine, state)
            self._events.add("state", {"from": before.value, "to": state.value}, machine=machine)

    def _announce(self, job: _Running, state: str, **more: Any) -> None:
        data = {"job": str(job.number), "operation": job.operation.value, "state": state, **more}
        self._events.add("job", data, machine=job.machine)


def _summary(row: Any) -> dict[str, Any]:
    failed = row["error_type"] is not None
    return {
        "id": str(row["id"]),
        "machine": row["machine"],
        "operation": row["operation"],
        "arguments": json.loads(row["arguments"]),
        "state": row["state"],
        "error": {"type": row["error_type"], "message": row["error_message"]} if failed else None,
        "started_ns": row["created_ns"],
        "ended_ns": row["ended_ns"],
    }
