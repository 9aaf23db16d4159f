"""Everything at a glance: the one document that the web site and the console show, so that both show the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from lab.replication.configuration_server.access import operator_of
from lab.replication.configuration_server.alerts import AlertTable
from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import MachineTable
from lab.replication.configuration_server.plans.store import PlanTable
from lab.replication.configuration_server.views import Views

RECENT_JOBS = 20


@dataclass(frozen=True)
class Overview:
    """Reads, never writes (seed L140: manages, configures, monitors)."""

    registry: Registry
    machines: MachineTable
    views: Views
    alerts: AlertTable
    groups: GroupTable
    plans: PlanTable
    jobs: JobRunner

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the document and of a machine's jobs."""
        return [
            web.get("/v1/overview", self.get_document),
            web.get("/v1/machines/{name}/jobs", self.get_jobs),
        ]

    async def get_document(self, request: web.Request) -> web.Response:
        """Return the document."""
        operator_of(request)
        return web.json_response(self.document())

    async def get_jobs(self, request: web.Request) -> web.Response:
        """Return the last jobs of a machine, newest first."""
        operator_of(request)
        machine = self.machines.get(request.match_info["name"])
        return web.json_response({"jobs": self.jobs.recent(RECENT_JOBS, machine.name)})

    def document(self) -> dict[str, Any]:
        """Return machines, groups, plans, policies, alerts, components and the last jobs."""
        return {
            "machines": [self.views.machine(machine) for machine in self.machines.all()],
            "groups": [{"name": group.name, **group.to_json()} for group in self.groups.all()],
            "plans": [self._plan(name) for name in self.plans.names()],
            "policies": [{"name": name, **asdict(policy)} for name, policy in self.machines.policies().items()],
            "alerts": self.alerts.all_standing(),
            "components": [component.to_json() for component in self.registry.all()],
            "jobs": self.jobs.recent(RECENT_JOBS),
        }

    def _plan(self, name: str) -> dict[str, Any]:
        runs = self.plans.runs(name)
        last = {"kind": runs[-1].kind.value, "state": runs[-1].state.value} if runs else None
        return {"name": name, "groups": self.plans.document(name)["groups"], "last_run": last}
