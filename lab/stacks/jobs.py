"""Jobs as suites see them: one operation on one machine, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab.stacks.errors import StackError


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


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


class JobFailed(StackError):
    """A job that had to succeed did not; ``job`` has its steps and its error."""

    def __init__(self, job: Job) -> None:
        detail = f"{job.error.type}: {job.error.message}" if job.error else job.state.value
        super().__init__(f"{job.operation} of {job.machine} (job {job.id}) failed: {detail}")
        self.job = job
