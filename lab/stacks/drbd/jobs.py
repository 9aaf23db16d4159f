"""Operations as jobs of this process, each with the times of its steps by the clock of this host."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from lab.errors import LabError
from lab.stacks.errors import NotFound
from lab.stacks.jobs import ErrorReport, Job, JobFailed, JobState, Step
from lab.waiting import Deadline, DeadlineExceeded

Action = tuple[str, Callable[[], None]]
"""A step: its name, and what it does."""


@dataclass
class _Running:
    id: str
    machine: str
    operation: str
    started_ns: int
    future: Future[None] | None = None
    steps: list[Step] = field(default_factory=list)
    ended_ns: int | None = None
    error: ErrorReport | None = None

    def run(self, actions: Sequence[Action]) -> None:
        for name, act in actions:
            begun = time.time_ns()
            try:
                act()
            except (LabError, TimeoutError, OSError) as error:
                self.steps.append(Step(name, "failed", begun, time.time_ns(), str(error)))
                self.error = ErrorReport(type(error).__name__, f"{name}: {error}")
                break
            self.steps.append(Step(name, "done", begun, time.time_ns(), None))
        self.ended_ns = time.time_ns()

    @property
    def job(self) -> Job:
        """As suites see it."""
        state = JobState.RUNNING
        if self.ended_ns is not None:
            state = JobState.SUCCEEDED if self.error is None else JobState.FAILED
        return Job(
            self.id, self.machine, self.operation, state, self.error, self.started_ns, self.ended_ns, tuple(self.steps)
        )


class Jobs:
    """One job at a time; they are known as long as this object lives."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="drbd")
        self._numbers = itertools.count(1)
        self._known: dict[str, _Running] = {}

    def start(self, machine: str, operation: str, actions: Sequence[Action]) -> str:
        """Begin a job and return its id."""
        running = _Running(f"{operation}-{next(self._numbers)}", machine, operation, time.time_ns())
        self._known[running.id] = running
        running.future = self._pool.submit(running.run, actions)
        return running.id

    def newest_of(self, machine: str) -> Job | None:
        """Return the job of a machine that was started last."""
        mine = [running for running in self._known.values() if running.machine == machine]
        return mine[-1].job if mine else None

    def get(self, job: str) -> Job:
        """Return a job. Raises NotFound."""
        return self._found(job).job

    def wait(self, job: str, deadline: Deadline) -> Job:
        """Wait until a job has succeeded. Raises NotFound, JobFailed, DeadlineExceeded."""
        running = self._found(job)
        if running.future is not None:
            done, _ = wait([running.future], timeout=deadline.remaining)
            if not done:
                raise DeadlineExceeded(f"no end of job {job} within {deadline.seconds:.0f} s; steps: {running.steps}")
            running.future.result()
        if running.error is not None:
            raise JobFailed(running.job)
        return running.job

    def close(self) -> None:
        """Wait for what runs; its steps have deadlines."""
        self._pool.shutdown(wait=True)

    def _found(self, job: str) -> _Running:
        if job not in self._known:
            raise NotFound(f"there is no job {job}: jobs are known to the session that started them")
        return self._known[job]
