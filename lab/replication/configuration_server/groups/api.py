"""The routes of operators for groups: set, look, cut, and operate on all members as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from lab.replication.configuration_server.access import json_body, operator_of
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, OperationRefused
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.groups.document import Group, parse_group
from lab.replication.configuration_server.groups.shared import LATEST_SHARED, choose, shared_points, showing
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.parsing import name_in
from lab.replication.configuration_server.sessions import SessionTable
from lab.replication.configuration_server.states import Family, Operation, State

WITH_POINT = (Operation.FAILOVER, Operation.TEST_FAILOVER, Operation.CHANGE_RECOVERY_POINT)
"""Operations that need an instant that all members have."""
AS_ONE = (
    *WITH_POINT,
    Operation.CLEANUP_TEST_FAILOVER,
    Operation.COMMIT,
    Operation.REPROTECT,
    Operation.FAILBACK,
    Operation.COMMIT_FAILBACK,
)


@dataclass(frozen=True)
class GroupApi:
    """Handlers of the calls about groups."""

    database: Database
    groups: GroupTable
    machines: MachineTable
    sessions: SessionTable
    events: EventLog
    jobs: JobRunner

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/groups/{name}", self.group),
            web.put("/v1/groups/{name}", self.put_group),
            web.post("/v1/groups/{name}/cut", self.cut),
            web.post("/v1/groups/{name}/operations/{operation}", self.operate),
        ]

    async def group(self, request: web.Request) -> web.Response:
        """Return a group and the points that its members share."""
        operator_of(request)
        group = self.groups.get(request.match_info["name"])
        points = [point.to_json() for point in self._shared(group)]
        shown = {**group.to_json(), "shared_points": points, "advisories": group.advisories}
        return web.json_response({"name": group.name, **shown})

    async def put_group(self, request: web.Request) -> web.Response:
        """Store a group; members that are replicated are told by jobs (seed L67: the option can be switched)."""
        operator_of(request)
        group = parse_group(name_in(request.match_info["name"]), await json_body(request))
        members = [self.machines.get(name) for name in group.names]
        self._refuse_change(group, members)
        affected = [m for m in members if Operation.APPLY_POLICY in m.allowed]
        for machine in affected:
            self.jobs.refuse_busy(machine, "change-group")
        # One transaction: a group that is stored but of which nobody was told would never take effect.
        with self.database.transaction():
            self.groups.put(group)
            self.events.add("group", {"name": group.name, **group.to_json()})
            jobs = {m.name: str(self.jobs.start(m.name, Operation.APPLY_POLICY, {})) for m in affected}
        return web.json_response({"jobs": jobs})

    async def cut(self, request: web.Request) -> web.Response:
        """Start a job of the coordinator that makes a shared recovery point now."""
        operator_of(request)
        group = self._consistent(self.groups.get(request.match_info["name"]), Operation.CUT)
        arguments = await json_body(request)
        job = self.jobs.start(group.names[0], Operation.CUT, {**arguments, "shared": True})
        return web.json_response({"job": str(job)}, status=202)

    async def operate(self, request: web.Request) -> web.Response:
        """Start an operation of all members, or of none."""
        operator_of(request)
        group = self.groups.get(request.match_info["name"])
        operation = _operation(request.match_info["operation"])
        arguments = await json_body(request)
        each = self._arguments(group, operation, arguments)
        # One transaction: all members begin, or none, also when the server dies in between.
        with self.database.transaction():
            jobs = {name: str(self.jobs.start(name, operation, own)) for name, own in each.items()}
        return web.json_response({"jobs": jobs}, status=202)

    def _arguments(self, group: Group, operation: Operation, arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the arguments of every member that has to begin: its own point of the instant that all have."""
        there = self._there_already(group, operation)
        names = [name for name in group.names if name not in there]
        if operation not in WITH_POINT:
            return {name: dict(arguments) for name in names}
        self._consistent(group, operation)
        wanted = arguments.get("recovery_point", LATEST_SHARED)
        if not isinstance(wanted, str):
            raise BadRequest("recovery_point: the id of a shared point, or 'latest-shared', is expected")
        point = choose(showing(self._shared(group), there), wanted)
        if point is None:
            message = f"group {group.name} has no shared recovery point {wanted!r}"
            raise OperationRefused("not-ready", operation, group.name, (), message)
        rest = {key: value for key, value in arguments.items() if key != "recovery_point"}
        return {name: {**rest, "recovery_point": point.points[name].id} for name in names}

    def _there_already(self, group: Group, operation: Operation) -> dict[str, str]:
        """Return the members that an operation need not begin with, and the points that they show.

        A member alone may not repeat what failed or was interrupted, so the group has to be able to: with those that
        it failed for, at the instant of those that are there.
        """
        members = [self.machines.get(name) for name in group.names]
        goals = {Operation.FAILOVER: State.COMMIT_PENDING, Operation.FAILBACK: State.FAILBACK_COMMIT_PENDING}
        there = [machine for machine in members if machine.state is goals.get(operation)]
        rest = [machine for machine in members if machine not in there]
        if not rest or any(operation not in machine.allowed for machine in rest):
            return {}
        return {machine.name: str(machine.attributes.get("recovery_point")) for machine in there}

    def _shared(self, group: Group) -> list[Any]:
        points = {name: self.sessions.points(self.machines.get(name).attributes.get("stream")) for name in group.names}
        return shared_points(points)

    def _consistent(self, group: Group, operation: Operation) -> Group:
        if not group.consistent:
            message = f"the members of {group.name} share no recovery points: multi-VM consistency is off"
            raise OperationRefused("not-ready", operation, group.name, (), message)
        return group

    def _refuse_change(self, group: Group, members: list[Machine]) -> None:
        """A machine that is replicated joins no group and leaves none (domain 2.4)."""
        for machine in members:
            if machine.family is not Family.GUEST:
                message = f"{machine.name} is replicated from its host, and such machines share no recovery points"
                raise OperationRefused("not-supported", "change-group", machine.state, (), message)
            present = self.groups.of(machine.name)
            if present is not None and present.name != group.name:
                message = f"{machine.name} is in group {present.name}"
                raise OperationRefused("group-member", "change-group", machine.state, (), message)
        known = next((found for found in self.groups.all() if found.name == group.name), None)
        before = set(known.names) if known else set()
        moved = before.symmetric_difference(group.names)
        for name in sorted(moved):
            machine = self.machines.get(name)
            if machine.state is not State.UNPROTECTED:
                message = f"{name} is {machine.state}: it can join or leave a group only while it is unprotected"
                raise OperationRefused("operation-refused", "change-group", machine.state, (), message)


def _operation(text: str) -> Operation:
    for operation in AS_ONE:
        if operation == text:
            return operation
    raise BadRequest(f"a group has no operation {text!r}; it has {', '.join(AS_ONE)}")
