"""JSON of the control API to the values of ``lab.stacks``, and its errors to typed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.stacks.deployment import Component, Discovered, SiteInventory
from lab.stacks.errors import InvalidRequest, NotAuthorised, NotFound, OperationRefused, StackError
from lab.stacks.jobs import ErrorReport, Job, JobState, Step
from lab.stacks.machines import Health, MachineState, MachineStatus, RecoveryPoint
from lab.stacks.plans import PlanRun, PlanRunKind, PlanRunState, PlanStep
from lab.stacks.protocol import Event

JSON = Mapping[str, Any]
_ERRORS: Mapping[int, type[StackError]] = {400: InvalidRequest, 401: NotAuthorised, 403: NotAuthorised, 404: NotFound}


def machine_status(value: JSON) -> MachineStatus:
    """Read a machine."""
    return MachineStatus(
        name=value["name"],
        state=MachineState(value["state"]),
        health=Health(value["health"]["status"], tuple(value["health"]["causes"])),
        allowed=tuple(value["allowed"]),
        rpo_seconds=value["rpo_seconds"],
        recovery_points=value["recovery_points"],
        direction=value["direction"],
        resynchronising=value["resynchronising"],
        test_machine=value["test_machine"],
        test_failover=value["test_failover"],
        job=value["job"],
        attributes=value["attributes"],
    )


def site_inventory(value: JSON) -> SiteInventory:
    """Read what was discovered at a site, or why that is not known now."""
    if "error" in value:
        return SiteInventory(vcenter=False, machines=(), advisories=(), problem=value["error"]["message"])
    machines = tuple(Discovered(item["name"], item["display_name"], item["power"]) for item in value["machines"])
    return SiteInventory(value["vcenter"], machines, tuple(value["advisories"]))


def recovery_point(value: JSON) -> RecoveryPoint:
    """Read a recovery point."""
    return RecoveryPoint(
        id=value["id"],
        stream=value["stream"],
        sequence=value["sequence"],
        begin_ns=value["begin_ns"],
        end_ns=value["end_ns"],
        published_ns=value["published_ns"],
    )


def job(value: JSON) -> Job:
    """Read a job."""
    error = value["error"]
    return Job(
        id=value["id"],
        machine=value["machine"],
        operation=value["operation"],
        state=JobState(value["state"]),
        error=ErrorReport(error["type"], error["message"]) if error else None,
        started_ns=value["started_ns"],
        ended_ns=value["ended_ns"],
        steps=tuple(
            Step(step["name"], step["state"], step["started_ns"], step["ended_ns"], step["detail"])
            for step in value["steps"]
        ),
    )


def event(value: JSON) -> Event:
    """Read an event."""
    return Event(
        id=value["id"],
        time_ns=value["time_ns"],
        kind=value["kind"],
        machine=value["machine"],
        stream=value["stream"],
        component=value["component"],
        data=value["data"],
    )


def component(value: JSON) -> Component:
    """Read a component."""
    return Component(
        id=value["id"],
        kind=value["kind"],
        name=value["name"],
        addresses=tuple(value["addresses"]),
        last_seen_ns=value["last_seen_ns"],
    )


def plan_run(value: Mapping[str, Any]) -> PlanRun:
    """Read a run of a plan."""
    return PlanRun(
        id=value["id"],
        plan=value["plan"],
        kind=PlanRunKind(value["kind"]),
        state=PlanRunState(value["state"]),
        allowed=tuple(value["allowed"]),
        started_ns=value["started_ns"],
        ended_ns=value["ended_ns"],
        steps=tuple(PlanStep(**{key: step[key] for key in PlanStep.__dataclass_fields__}) for step in value["steps"]),
    )


def error_of(status: int, value: object) -> StackError:
    """Return the typed error of an answer."""
    body = value if isinstance(value, dict) else {}
    error = body.get("error")
    if not isinstance(error, dict):
        return StackError(f"the configuration server answered HTTP {status}")
    message = str(error.get("message", f"HTTP {status}"))
    if status == 409:  # noqa: PLR2004 - Conflict
        return OperationRefused(
            str(error.get("type")),
            str(error.get("operation")),
            str(error.get("state")),
            error.get("allowed", ()),
            message,
        )
    return _ERRORS.get(status, StackError)(message)
