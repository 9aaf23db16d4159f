"""How a run of a plan goes on: pure functions over its steps. Nothing here starts anything.

Steps have a stage. Those of one stage run side by side; a stage begins when every step of the stages before has
ended, well or badly: errors do not stop a plan (domain 2.2). The actions before and after a group are a stage each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.replication.configuration_server.plans.document import Action, Plan
from lab.replication.configuration_server.plans.kinds import WORK, RunKind


class StepState(StrEnum):
    """How far a step is."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    WAITING = "waiting-for-manual-action"
    SUCCEEDED = "succeeded"
    PARTIALLY_FAILED = "partially-failed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class RunOperation(StrEnum):
    """What can be done with a run."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    RESUME = "resume"


class StepKind(StrEnum):
    """What a step is."""

    MACHINE = "machine"
    SCRIPT = "script"
    MANUAL = "manual"


ACTIVE = (RunState.RUNNING, RunState.WAITING)
_UNFINISHED = (StepState.PENDING, StepState.RUNNING, StepState.WAITING)
_AGAIN = (StepState.FAILED, StepState.INTERRUPTED)
_ALLOWED = {
    RunState.RUNNING: (RunOperation.CANCEL,),
    RunState.WAITING: (RunOperation.CONTINUE, RunOperation.CANCEL),
    RunState.PARTIALLY_FAILED: (RunOperation.RESUME,),
    RunState.FAILED: (RunOperation.RESUME,),
    RunState.INTERRUPTED: (RunOperation.RESUME,),
}


@dataclass(frozen=True)
class Step:
    """One step: a machine, a script or a manual action. ``group`` counts from 1; ``timeout_s`` is for scripts."""

    position: int
    stage: int
    group: int
    kind: StepKind
    name: str
    state: StepState = StepState.PENDING
    timeout_s: int = 0
    job: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    detail: str | None = None


def steps_of(plan: Plan, kind: RunKind) -> list[Step]:
    """Return all steps of a run, in order, none of them begun."""
    return [
        Step(position, stage, group, step_kind, name, timeout_s=timeout)
        for position, (stage, group, step_kind, name, timeout) in enumerate(_laid_out(plan, kind), 1)
    ]


def _laid_out(plan: Plan, kind: RunKind) -> Iterator[tuple[int, int, StepKind, str, int]]:
    stage = 0
    for number, group in enumerate(plan.groups, 1):
        with_actions = WORK[kind].with_actions
        for action in group.before if with_actions else ():
            stage += 1
            yield (stage, number, *_described(action))
        stage += 1
        for machine in group.machines:
            yield stage, number, StepKind.MACHINE, machine, 0
        for action in group.after if with_actions else ():
            stage += 1
            yield (stage, number, *_described(action))


def _described(action: Action) -> tuple[StepKind, str, int]:
    if action.script is not None:
        return StepKind.SCRIPT, action.script, action.timeout_s
    return StepKind.MANUAL, action.manual or "", 0


def to_start(steps: Sequence[Step]) -> list[Step]:
    """Return the steps whose turn it is: those that are pending in the first stage that has not ended."""
    open_stages = [step.stage for step in steps if step.state in _UNFINISHED]
    if not open_stages:
        return []
    return [step for step in steps if step.stage == min(open_stages) and step.state is StepState.PENDING]


def state_of(steps: Sequence[Step]) -> RunState:
    """Return the state of a run that goes on by itself; it has ended when no step can change any more."""
    states = [step.state for step in steps]
    if any(state in _UNFINISHED for state in states):
        waits = StepState.WAITING in states and StepState.RUNNING not in states
        return RunState.WAITING if waits else RunState.RUNNING
    if StepState.CANCELLED in states:
        return RunState.CANCELLED
    if StepState.INTERRUPTED in states:
        return RunState.INTERRUPTED
    if StepState.FAILED not in states:
        return RunState.SUCCEEDED
    machines = [step.state for step in steps if step.kind is StepKind.MACHINE]
    return RunState.FAILED if all(state is StepState.FAILED for state in machines) else RunState.PARTIALLY_FAILED


def allowed_on(state: RunState) -> tuple[RunOperation, ...]:
    """Return what can be done with a run in ``state``."""
    return _ALLOWED.get(state, ())


def cancelled(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that a cancellation ends: those under way go on to their end."""
    return [step for step in steps if step.state in (StepState.PENDING, StepState.WAITING)]


def to_repeat(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that a resumption does again."""
    return [step for step in steps if step.state in _AGAIN]
