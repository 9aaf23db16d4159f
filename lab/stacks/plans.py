"""Recovery plans as suites see them (seed L77, domain 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab.errors import LabError


class PlanRunKind(StrEnum):
    """What a run does with every machine of its plan."""

    TEST = "test"
    CLEANUP_TEST = "cleanup-test"
    UNPLANNED = "unplanned"
    PLANNED = "planned"
    COMMIT = "commit"
    REPROTECT = "reprotect"
    FAILBACK = "failback"
    COMMIT_FAILBACK = "commit-failback"


class PlanRunState(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    WAITING = "waiting-for-manual-action"
    SUCCEEDED = "succeeded"
    PARTIALLY_FAILED = "partially-failed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether it does not go on by itself, and waits for nobody."""
        return self not in (PlanRunState.RUNNING, PlanRunState.WAITING)


@dataclass(frozen=True)
class PlanStep:
    """One step of a run: a machine, a script or a manual action of a group (from 1); times in ns, None: not yet."""

    position: int
    group: int
    kind: str
    name: str
    state: str
    job: str | None
    started_ns: int | None
    ended_ns: int | None
    detail: str | None


@dataclass(frozen=True)
class PlanRun:
    """One run of a plan."""

    id: str
    plan: str
    kind: PlanRunKind
    state: PlanRunState
    allowed: tuple[str, ...]
    started_ns: int
    ended_ns: int | None
    steps: tuple[PlanStep, ...]

    @property
    def seconds(self) -> float | None:
        """How long it took, or None while it goes on; of a test run this is the plan's RTO (domain 2.3)."""
        return None if self.ended_ns is None else (self.ended_ns - self.started_ns) / 1e9

    def machine(self, name: str) -> PlanStep:
        """Return the step of a machine. Raises KeyError."""
        for step in self.steps:
            if (step.kind, step.name) == ("machine", name):
                return step
        raise KeyError(name)


class PlanRunEnded(LabError):
    """A run ended in another way than it had to; ``run`` has its steps."""

    def __init__(self, run: PlanRun) -> None:
        problems = [f"{step.name}: {step.state}: {step.detail}" for step in run.steps if step.state == "failed"]
        super().__init__(f"run {run.id} of plan {run.plan} is {run.state}: {'; '.join(problems) or 'no step failed'}")
        self.run = run
