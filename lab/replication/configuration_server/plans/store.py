"""Plans and their runs in the database: every change is one transaction, with its event."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import Unknown
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.plans.document import Plan, parse_plan
from lab.replication.configuration_server.plans.kinds import RunKind
from lab.replication.configuration_server.plans.progress import (
    ACTIVE,
    RunState,
    Step,
    StepKind,
    StepState,
    allowed_on,
    state_of,
)

_ENDED = (StepState.DONE, StepState.FAILED, StepState.SKIPPED, StepState.INTERRUPTED, StepState.CANCELLED)


@dataclass(frozen=True)
class Run:
    """One run of a plan, with the steps that the plan had when it began."""

    id: int
    plan: str
    kind: RunKind
    arguments: Mapping[str, Any]
    state: RunState
    started_ns: int
    ended_ns: int | None
    steps: tuple[Step, ...]

    @property
    def active(self) -> bool:
        """Whether it goes on by itself or waits for somebody."""
        return self.state in ACTIVE

    def to_json(self) -> dict[str, Any]:
        """Return what operators see."""
        return {
            "id": str(self.id),
            "plan": self.plan,
            "kind": self.kind.value,
            "arguments": dict(self.arguments),
            "state": self.state.value,
            "allowed": [operation.value for operation in allowed_on(self.state)],
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "steps": [asdict(step) for step in self.steps],
        }


class PlanTable:
    """Reads and writes plans and runs."""

    def __init__(self, database: Database, events: EventLog) -> None:
        self._database = database
        self._events = events

    def names(self) -> list[str]:
        """Return the names of all plans."""
        return [row["name"] for row in self._database.rows("SELECT name FROM plans ORDER BY name")]

    def document(self, name: str) -> dict[str, Any]:
        """Return a plan as it was put. Raises Unknown."""
        row = self._database.row("SELECT document FROM plans WHERE name = ?", name)
        if row is None:
            raise Unknown(f"no plan {name!r}; PUT /v1/plans/{name} makes one")
        document: dict[str, Any] = json.loads(row["document"])
        return document

    def plan(self, name: str) -> Plan:
        """Return a plan. Raises Unknown."""
        return parse_plan(self.document(name))

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a plan that was checked."""
        with self._database.transaction():
            self._database.write(
                "INSERT INTO plans (name, document) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET document = excluded.document",
                name,
                json.dumps(document),
            )
            self._events.add("plan", {"name": name, "change": "stored"})

    def delete(self, name: str) -> None:
        """Remove a plan; its runs stay as history. Raises Unknown."""
        self.document(name)
        with self._database.transaction():
            self._database.write("DELETE FROM plans WHERE name = ?", name)
            self._events.add("plan", {"name": name, "change": "deleted"})

    def add_run(self, plan: str, kind: RunKind, arguments: Mapping[str, Any], steps: Iterable[Step]) -> int:
        """Store a new run and return its number."""
        with self._database.transaction():
            number = self._database.write(
                "INSERT INTO plan_runs (plan, kind, arguments, state, started_ns) VALUES (?, ?, ?, ?, ?)",
                plan,
                kind.value,
                json.dumps(dict(arguments)),
                RunState.RUNNING.value,
                time.time_ns(),
            )
            for step in steps:
                row = {"run": number, **asdict(step)}
                marks = ", ".join("?" for _ in row)
                self._database.write(f"INSERT INTO plan_steps VALUES ({marks})", *row.values())  # noqa: S608
            self._announce(number, RunState.RUNNING)
        return number

    def run(self, plan: str, number: int) -> Run:
        """Return a run of a plan. Raises Unknown."""
        row = self._database.row("SELECT * FROM plan_runs WHERE id = ? AND plan = ?", number, plan)
        if row is None:
            raise Unknown(f"plan {plan!r} has no run {number}")
        return self._run(row)

    def runs(self, plan: str) -> list[Run]:
        """Return the runs of a plan, oldest first."""
        rows = self._database.rows("SELECT * FROM plan_runs WHERE plan = ? ORDER BY id", plan)
        return [self._run(row) for row in rows]

    def active(self) -> list[Run]:
        """Return the runs that had not ended."""
        marks = ", ".join("?" for _ in ACTIVE)
        query = f"SELECT * FROM plan_runs WHERE state IN ({marks}) ORDER BY id"  # noqa: S608 - only question marks
        return [self._run(row) for row in self._database.rows(query, *(state.value for state in ACTIVE))]

    def change(
        self, run: Run, steps: Sequence[Step], state: StepState, detail: str | None = None, job: str | None = None
    ) -> None:
        """Move steps to a state, and the run to what follows from all of its steps."""
        with self._database.transaction():
            for step in steps:
                self._write_step(run.id, step, state, detail, job)
                data = {"plan": run.plan, "run": str(run.id), "step": step.position, "kind": step.kind.value}
                more = {"name": step.name, "group": step.group, "state": state.value, "detail": detail}
                machine = step.name if step.kind is StepKind.MACHINE else None
                self._events.add("plan-step", {**data, **more}, machine=machine)
            self.set_state(run, state_of(self.run(run.plan, run.id).steps))

    def set_state(self, run: Run, state: RunState) -> None:
        """Move a run to a state; nothing happens when it is there."""
        with self._database.transaction():
            if self.run(run.plan, run.id).state is state:
                return
            ended = None if state in ACTIVE else time.time_ns()
            self._database.write(
                "UPDATE plan_runs SET state = ?, ended_ns = ? WHERE id = ?", state.value, ended, run.id
            )
            self._announce(run.id, state)

    def _write_step(self, run: int, step: Step, state: StepState, detail: str | None, job: str | None) -> None:
        now = time.time_ns()
        begun = state not in (StepState.PENDING, StepState.CANCELLED)
        started = step.started_ns or now if begun else None
        self._database.write(
            "UPDATE plan_steps SET state = ?, started_ns = ?, ended_ns = ?, detail = ?, job = ? "
            "WHERE run = ? AND position = ?",
            state.value,
            started,
            now if state in _ENDED else None,
            detail,
            job or step.job,
            run,
            step.position,
        )

    def _announce(self, run: int, state: RunState) -> None:
        row = self._database.row("SELECT plan, kind FROM plan_runs WHERE id = ?", run)
        if row is not None:
            self._events.add("plan-run", {**dict(row), "run": str(run), "state": state.value})

    def _run(self, row: Any) -> Run:
        steps = self._database.rows("SELECT * FROM plan_steps WHERE run = ? ORDER BY position", row["id"])
        return Run(
            id=row["id"],
            plan=row["plan"],
            kind=RunKind(row["kind"]),
            arguments=json.loads(row["arguments"]),
            state=RunState(row["state"]),
            started_ns=row["started_ns"],
            ended_ns=row["ended_ns"],
            steps=tuple(_step(step) for step in steps),
        )


def _step(row: Any) -> Step:
    values = {key: row[key] for key in row.keys() if key != "run"}  # noqa: SIM118 - a row iterates over its values
    return Step(**{**values, "kind": StepKind(values["kind"]), "state": StepState(values["state"])})
