"""The routes of operators: look, set, and start operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from lab.replication.common.tls import KERBEROS
from lab.replication.configuration_server.access import json_body, operator_of
from lab.replication.configuration_server.component_api import wait_seconds
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.deployment import Deployment
from lab.replication.configuration_server.errors import BadRequest, OperationRefused, Unknown
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.parsing import name_in, number_in
from lab.replication.configuration_server.policies import Policy, parse_policy
from lab.replication.configuration_server.sessions import SessionTable
from lab.replication.configuration_server.settings import Settings
from lab.replication.configuration_server.settings_document import never_smaller, parse_settings
from lab.replication.configuration_server.states import Operation, State
from lab.replication.configuration_server.views import Views

UNUSED = (State.UNPROTECTED, State.ENABLING_FAILED, State.FAILED_BACK)
NOT_ALONE = (Operation.FAILOVER, Operation.FAILBACK)
CHANGEABLE_IN_USE = ("failback", "failback_nics", "push_install", "cpus", "memory_mib", "group")
"""What may change while a machine is replicated: nothing that an open stream depends on."""


@dataclass(frozen=True)
class OperatorApi:
    """Handlers of the calls that operators make; every one checks the certificate first."""

    database: Database
    registry: Registry
    machines: MachineTable
    sessions: SessionTable
    events: EventLog
    jobs: JobRunner
    views: Views
    groups: GroupTable
    deployment: Deployment

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/components", self.components),
            web.get("/v1/policies/{name}", self.policy),
            web.put("/v1/policies/{name}", self.put_policy),
            web.get("/v1/machines", self.all_machines),
            web.get("/v1/machines/{name}", self.machine),
            web.put("/v1/machines/{name}", self.put_machine),
            web.get("/v1/machines/{name}/recovery-points", self.recovery_points),
            web.post("/v1/machines/{name}/operations/{operation}", self.operate),
            web.post("/v1/machines/{name}/cut", self.cut),
            web.get("/v1/jobs/{id}", self.job),
            web.get("/v1/vault", self.show_vault),
            web.put("/v1/vault/{step}/{name}", self.set_up_vault),
            web.get("/v1/events", self.list_events),
        ]

    async def show_vault(self, request: web.Request) -> web.Response:
        """Return what was set up with the vault, step by step."""
        operator_of(request)
        return web.json_response({"setup": self.deployment.done()})

    async def set_up_vault(self, request: web.Request) -> web.Response:
        """Do a step of the set-up; one that is too early is refused (seed L60)."""
        operator_of(request)
        step, name = request.match_info["step"], name_in(request.match_info["name"])
        await self.deployment.set_up(step, name, await json_body(request))
        return web.json_response({"step": step, "name": name})

    async def components(self, request: web.Request) -> web.Response:
        """List the components."""
        operator_of(request)
        return web.json_response({"components": [component.to_json() for component in self.registry.all()]})

    async def policy(self, request: web.Request) -> web.Response:
        """Return a policy."""
        operator_of(request)
        return web.json_response(asdict(self.machines.policy(request.match_info["name"])))

    async def put_policy(self, request: web.Request) -> web.Response:
        """Store a policy; machines that are replicated under it are told by jobs (seed L61)."""
        operator_of(request)
        name = name_in(request.match_info["name"])
        policy = parse_policy(await json_body(request))
        users = [machine for machine in self.machines.all() if machine.settings.policy == name]
        for machine in users:
            refuse_proof(policy, machine.settings)
        affected = [m for m in users if Operation.APPLY_POLICY in m.allowed]
        for machine in affected:
            self.jobs.refuse_busy(machine, Operation.APPLY_POLICY)
        # One transaction: a policy that is stored but of which nobody was told would never take effect.
        with self.database.transaction():
            self.machines.put_policy(name, policy)
            self.events.add("policy", {"name": name, **asdict(policy)})
            jobs = {m.name: str(self.jobs.start(m.name, Operation.APPLY_POLICY, {})) for m in affected}
        return web.json_response({"jobs": jobs})

    async def all_machines(self, request: web.Request) -> web.Response:
        """List the machines."""
        operator_of(request)
        return web.json_response({"machines": [self.views.machine(machine) for machine in self.machines.all()]})

    async def machine(self, request: web.Request) -> web.Response:
        """Return a machine."""
        operator_of(request)
        return web.json_response(self.views.machine(self.machines.get(request.match_info["name"])))

    async def put_machine(self, request: web.Request) -> web.Response:
        """Store how a machine is to be protected."""
        operator_of(request)
        name = name_in(request.match_info["name"])
        document = await json_body(request)
        settings = parse_settings(document)
        try:
            refuse_proof(self.machines.policy(settings.policy), settings)
        except Unknown as error:
            raise BadRequest(f"settings.policy: {error}") from error
        known = self.machines.find(name)
        if known is not None and not self._idle(known):
            document = never_smaller(document, known.document)
            self._refuse_change(known, document)
        with self.database.transaction():
            self.machines.put(name, document)
            self.events.add("settings", {}, machine=name)
        return web.json_response(self.views.machine(self.machines.get(name)))

    async def recovery_points(self, request: web.Request) -> web.Response:
        """List the recovery points of the present stream, oldest first."""
        operator_of(request)
        machine = self.machines.get(request.match_info["name"])
        points = self.sessions.points(machine.attributes.get("stream"))
        return web.json_response({"recovery_points": [point.to_json() for point in points]})

    async def operate(self, request: web.Request) -> web.Response:
        """Start an operation."""
        operator_of(request)
        arguments = await json_body(request)
        job = self.begin(request.match_info["name"], request.match_info["operation"], arguments)
        return web.json_response({"job": str(job)}, status=202)

    def begin(self, name: str, operation: str, arguments: Mapping[str, Any]) -> int:
        """Start an operation of a machine, whichever interface asks, and return the number of its job.

        Raises:
            Unknown, BadRequest, OperationRefused: it cannot be started; nothing has changed.
        """
        self._refuse_alone(self.machines.get(name), operation)
        return self.jobs.start(name, operation, arguments)

    async def cut(self, request: web.Request) -> web.Response:
        """Start a job that makes a recovery point now."""
        operator_of(request)
        job = self.jobs.start(request.match_info["name"], Operation.CUT, await json_body(request))
        return web.json_response({"job": str(job)}, status=202)

    async def job(self, request: web.Request) -> web.Response:
        """Return a job with its steps."""
        operator_of(request)
        return web.json_response(self.jobs.get(number_in(request.match_info["id"], "job")))

    async def list_events(self, request: web.Request) -> web.Response:
        """Return the events after a number, waiting for one if there is none."""
        operator_of(request)
        after = number_in(request.query.get("after", "0"), "after")
        found = self.events.after(after)
        wait = wait_seconds(request)
        if not found and wait > 0:
            await self.events.news.wait(wait)
            found = self.events.after(after)
        return web.json_response({"events": found, "last": found[-1]["id"] if found else after})

    def _refuse_alone(self, machine: Machine, operation: str) -> None:
        """A member of a consistent group does not fail over by itself (domain 2.4)."""
        group = self.groups.of(machine.name)
        if operation in NOT_ALONE and group is not None and group.consistent:
            allowed = machine.allowed
            message = f"{machine.name} is a member of {group.name}, which fails over as one"
            raise OperationRefused("group-member", operation, machine.state, allowed, message)

    def _idle(self, machine: Machine) -> bool:
        """Whether nothing depends on the settings of a machine now."""
        return machine.state in UNUSED and self.jobs.running(machine.name) is None

    def _refuse_change(self, machine: Machine, document: dict[str, object]) -> None:
        """Refuse what an open stream depends on; ``change-settings`` is not an operation, but refused like one."""
        changed = {key for key in {*machine.document, *document} if machine.document.get(key) != document.get(key)}
        fixed = sorted(changed - set(CHANGEABLE_IN_USE))
        if fixed:
            allowed = machine.allowed
            message = f"{', '.join(fixed)} of {machine.name} cannot change while it is {machine.state}"
            raise OperationRefused("operation-refused", "change-settings", machine.state, allowed, message)


def refuse_proof(policy: Policy, settings: Settings) -> None:
    """Raise BadRequest when a policy has hosts authenticate by Kerberos, and no two hosts speak with each other."""
    if policy.authentication == KERBEROS and settings.recovery_host is None:
        raise BadRequest("policy.authentication: Kerberos is for machines that are replicated from host to host")
