"""Running plans: a task for each run that starts what ``progress`` says and waits for news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, ControlError, OperationRefused
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.jobs import RUNNING as JOB_RUNNING
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import MachineTable
from lab.replication.configuration_server.plans.instants import Instants
from lab.replication.configuration_server.plans.kinds import (
    WORK,
    RunKind,
    check_arguments,
    reason_to_skip,
)
from lab.replication.configuration_server.plans.progress import (
    RunOperation,
    RunState,
    Step,
    StepKind,
    StepState,
    allowed_on,
    cancelled,
    steps_of,
    to_repeat,
    to_start,
)
from lab.replication.configuration_server.plans.scripts import Scripts
from lab.replication.configuration_server.plans.store import PlanTable, Run
from lab.replication.configuration_server.states import UNSUPPORTED

log = logging.getLogger(__name__)

POLL_S = 5.0
"""News wakes a run; this is only for the case that one was missed."""
START = "run"
POINTS = "points"
"""Where the arguments of a run keep the points that were chosen for members of groups."""
_STEP_OF_JOB = {"succeeded": StepState.DONE, "failed": StepState.FAILED, "interrupted": StepState.INTERRUPTED}


class PlanRunner:
    """Starts, continues, cancels and resumes runs; one at a time for each plan."""

    def __init__(
        self,
        *,
        database: Database,
        plans: PlanTable,
        machines: MachineTable,
        jobs: JobRunner,
        events: EventLog,
        scripts: Scripts,
        instants: Instants,
    ) -> None:
        self._database = database
        self._plans = plans
        self._machines = machines
        self._jobs = jobs
        self._events = events
        self._scripts = scripts
        self._instants = instants
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, kind: str, arguments: Mapping[str, Any]) -> int:
        """Begin a run and return its number.

        Raises:
            Unknown: no such plan.
            BadRequest: no such kind, or the arguments are wrong.
            OperationRefused: a run of this plan is active, a machine is unknown, the kind is not supported, or the
                members of a replication group have no instant in common.
        """
        plan = self._plans.plan(name)
        wanted = _kind(kind)
        check_arguments(wanted, arguments)
        self.refuse_active(name, START)
        missing = [machine for machine in plan.machines if self._machines.find(machine) is None]
        if missing:
            raise OperationRefused("not-ready", START, "ready", (), f"no machine {', '.join(missing)} is known")
        self._refuse_unsupported(plan.machines, wanted)
        points = self._instants.choose(plan.machines, wanted, arguments)
        number = self._plans.add_run(name, wanted, {**arguments, POINTS: points}, steps_of(plan, wanted))
        self._drive_on(name, number)
        return number

    def _refuse_unsupported(self, machines: Sequence[str], wanted: RunKind) -> None:
        """Refuse what some machine of the plan can never do (seed L76)."""
        operation = WORK[wanted].operation
        for name in machines:
            refused = UNSUPPORTED[self._machines.get(name).family].get(operation)
            if refused is not None:
                raise OperationRefused("not-supported", START, "ready", (), f"{name}: {refused}")

    def go_on(self, name: str, number: int) -> Run:
        """Note that the manual action a run waits for is done. Raises Unknown, OperationRefused."""
        run = self._allowed(name, number, RunOperation.CONTINUE)
        self._plans.change(run, [step for step in run.steps if step.state is StepState.WAITING], StepState.DONE)
        return self._plans.run(name, number)

    def cancel(self, name: str, number: int) -> Run:
        """Begin nothing more; what is under way goes on to its end. Raises Unknown, OperationRefused."""
        run = self._allowed(name, number, RunOperation.CANCEL)
        self._plans.change(run, cancelled(run.steps), StepState.CANCELLED)
        return self._plans.run(name, number)

    def resume(self, name: str, number: int) -> Run:
        """Do again what failed or was interrupted, and then the rest. Raises Unknown, OperationRefused."""
        run = self._allowed(name, number, RunOperation.RESUME)
        self.refuse_active(name, RunOperation.RESUME)
        if run.id != self._plans.runs(name)[-1].id:
            message = f"run {number} of plan {name} is not its last one"
            raise OperationRefused("operation-refused", RunOperation.RESUME, run.state, (), message)
        with self._database.transaction():
            self._plans.change(run, to_repeat(run.steps), StepState.PENDING)
            self._plans.set_state(run, RunState.RUNNING)
        self._drive_on(name, number)
        return self._plans.run(name, number)

    def refuse_active(self, name: str, operation: str) -> None:
        """Raise OperationRefused while a run of the plan is active."""
        for run in self._plans.active():
            if run.plan == name:
                message = f"run {run.id} of plan {name} is {run.state}"
                raise OperationRefused("run-active", operation, run.state, allowed_on(run.state), message)

    def recover(self) -> None:
        """Mark runs that an earlier server had under way as interrupted; the jobs were recovered before.

        A run that only waited for somebody has lost nothing and goes on waiting.
        """
        for run in self._plans.active():
            with self._database.transaction():
                for step in run.steps:
                    if step.state is StepState.RUNNING:
                        self._plans.change(run, [step], *self._how_it_ended(step))
                if self._plans.run(run.plan, run.id).state is RunState.RUNNING:
                    self._plans.set_state(run, RunState.INTERRUPTED)
            if self._plans.run(run.plan, run.id).active:
                self._drive_on(run.plan, run.id)

    async def close(self) -> None:
        """Stop in the middle, as a crash would; scripts are killed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _allowed(self, name: str, number: int, operation: RunOperation) -> Run:
        run = self._plans.run(name, number)
        allowed = allowed_on(run.state)
        if operation not in allowed:
            message = f"{operation} is not allowed while run {number} of plan {name} is {run.state}"
            raise OperationRefused("operation-refused", operation, run.state, allowed, message)
        return run

    def _drive_on(self, name: str, number: int) -> None:
        self._spawn(self._drive(name, number))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drive(self, name: str, number: int) -> None:
        try:
            while (run := self._plans.run(name, number)).active:
                if not self._advance(run):
                    await self._events.news.wait(POLL_S)
        except Exception:  # a defect must end the run, not leave it under way for ever
            log.exception("run %d of plan %s failed", number, name)
            self._plans.set_state(self._plans.run(name, number), RunState.INTERRUPTED)

    def _advance(self, run: Run) -> bool:
        """Take in what has ended and begin what has its turn; return whether anything has changed."""
        changed = [self._take_in(run, step) for step in run.steps if step.job and step.state is StepState.RUNNING]
        if any(changed):
            return True
        return any([self._begin(run, step) for step in to_start(run.steps)])  # noqa: C419 - all of them, not the first

    def _take_in(self, run: Run, step: Step) -> bool:
        if self._jobs.get(int(step.job or 0))["state"] == JOB_RUNNING:
            return False
        self._plans.change(run, [step], *self._how_it_ended(step))
        return True

    def _how_it_ended(self, step: Step) -> tuple[StepState, str | None]:
        if step.job is None:
            return StepState.INTERRUPTED, "the configuration server was restarted"
        job = self._jobs.get(int(step.job))
        error = job["error"]
        return _STEP_OF_JOB[job["state"]], f"{error['type']}: {error['message']}" if error else None

    def _begin(self, run: Run, step: Step) -> bool:
        if step.kind is StepKind.MACHINE:
            return self._begin_machine(run, step)
        if step.kind is StepKind.MANUAL:
            self._plans.change(run, [step], StepState.WAITING)
            return True
        self._plans.change(run, [step], StepState.RUNNING)
        self._spawn(self._run_script(run, step))
        return True

    def _begin_machine(self, run: Run, step: Step) -> bool:
        machine = self._machines.get(step.name)
        reason = reason_to_skip(run.kind, machine)
        if reason is not None:
            self._plans.change(run, [step], StepState.SKIPPED, reason)
            return True
        try:
            # One transaction: a job that no step knows of would be started again after a crash.
            with self._database.transaction():
                job = self._jobs.start(step.name, WORK[run.kind].operation, _arguments(run, step.name))
                self._plans.change(run, [step], StepState.RUNNING, job=str(job))
        except OperationRefused as refused:
            if refused.kind == "job-running":
                return False
            self._plans.change(run, [step], StepState.FAILED, f"{refused.kind}: {refused}")
        except ControlError as error:
            self._plans.change(run, [step], StepState.FAILED, f"{error.kind}: {error}")
        return True

    async def _run_script(self, run: Run, step: Step) -> None:
        machines = [each.name for each in run.steps if each.kind is StepKind.MACHINE and each.group == step.group]
        facts = {
            "RECOVERY_PLAN": run.plan,
            "RECOVERY_RUN": str(run.id),
            "RECOVERY_KIND": run.kind.value,
            "RECOVERY_GROUP": str(step.group),
            "RECOVERY_MACHINES": ",".join(machines),
        }
        ended = await self._scripts.run(step.name, facts, step.timeout_s)
        now = next(each for each in self._plans.run(run.plan, run.id).steps if each.position == step.position)
        self._plans.change(run, [now], StepState.DONE if ended.ok else StepState.FAILED, ended.detail)


def _arguments(run: Run, machine: str) -> dict[str, Any]:
    own = {key: value for key, value in run.arguments.items() if key != POINTS}
    chosen = run.arguments.get(POINTS, {})
    return {**own, "recovery_point": chosen[machine]} if machine in chosen else own


def _kind(word: str) -> RunKind:
    try:
        return RunKind(word)
    except ValueError:
        raise BadRequest(f"kind: one of {', '.join(RunKind)} is expected, not {word!r}") from None
