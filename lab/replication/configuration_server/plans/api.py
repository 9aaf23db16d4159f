"""The routes of recovery plans; only operators may use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from lab.replication.configuration_server.access import json_body, operator_of
from lab.replication.configuration_server.parsing import Reader, name_in, number_in
from lab.replication.configuration_server.plans.document import parse_plan
from lab.replication.configuration_server.plans.runner import PlanRunner
from lab.replication.configuration_server.plans.scripts import Scripts
from lab.replication.configuration_server.plans.store import PlanTable, Run


@dataclass(frozen=True)
class PlanApi:
    """Handlers of the calls about plans; every one checks the certificate first."""

    plans: PlanTable
    runner: PlanRunner
    scripts: Scripts

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        one_run = "/v1/plans/{name}/runs/{id}"
        return [
            web.get("/v1/plans", self.all_plans),
            web.get("/v1/plans/{name}", self.plan),
            web.put("/v1/plans/{name}", self.put_plan),
            web.delete("/v1/plans/{name}", self.delete_plan),
            web.get("/v1/plans/{name}/runs", self.runs),
            web.post("/v1/plans/{name}/runs", self.start),
            web.get(one_run, self.run),
            web.post(f"{one_run}/continue", self.go_on),
            web.post(f"{one_run}/cancel", self.cancel),
            web.post(f"{one_run}/resume", self.resume),
        ]

    async def all_plans(self, request: web.Request) -> web.Response:
        """List the names of the plans."""
        operator_of(request)
        return web.json_response({"plans": self.plans.names()})

    async def plan(self, request: web.Request) -> web.Response:
        """Return a plan."""
        operator_of(request)
        return web.json_response(self.plans.document(request.match_info["name"]))

    async def put_plan(self, request: web.Request) -> web.Response:
        """Store a plan; its scripts have to be registered. Refused while a run of it is active."""
        operator_of(request)
        name = name_in(request.match_info["name"])
        document = await json_body(request)
        for script in sorted(parse_plan(document).scripts):
            self.scripts.find(script)
        self.runner.refuse_active(name, "change-plan")
        self.plans.put(name, document)
        return web.json_response(document)

    async def delete_plan(self, request: web.Request) -> web.Response:
        """Remove a plan; refused while a run of it is active."""
        operator_of(request)
        name = request.match_info["name"]
        self.runner.refuse_active(name, "delete-plan")
        self.plans.delete(name)
        return web.json_response({})

    async def runs(self, request: web.Request) -> web.Response:
        """List the runs of a plan, oldest first."""
        operator_of(request)
        return web.json_response({"runs": [run.to_json() for run in self.plans.runs(request.match_info["name"])]})

    async def start(self, request: web.Request) -> web.Response:
        """Begin a run: ``{"kind": KIND, ...}`` and the arguments of the operation that the kind stands for."""
        operator_of(request)
        reader = Reader.of(await json_body(request), "run")
        arguments = {key: value for key, value in reader.value.items() if key != "kind"}
        number = self.runner.start(request.match_info["name"], reader.text("kind"), arguments)
        return web.json_response({"run": str(number)}, status=202)

    async def run(self, request: web.Request) -> web.Response:
        """Return a run with its steps."""
        return self._with_run(request, self.plans.run)

    async def go_on(self, request: web.Request) -> web.Response:
        """Say that the manual action is done."""
        return self._with_run(request, self.runner.go_on)

    async def cancel(self, request: web.Request) -> web.Response:
        """Begin no further step."""
        return self._with_run(request, self.runner.cancel)

    async def resume(self, request: web.Request) -> web.Response:
        """Do again what failed or was interrupted."""
        return self._with_run(request, self.runner.resume)

    def _with_run(self, request: web.Request, action: Callable[[str, int], Run]) -> web.Response:
        operator_of(request)
        number = number_in(request.match_info["id"], "run")
        return web.json_response(action(request.match_info["name"], number).to_json())
