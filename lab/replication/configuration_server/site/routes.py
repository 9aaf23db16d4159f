"""The routes of the web site; every page and every form needs the certificate of an operator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from aiohttp import web

from lab.replication.common.tls import Peer
from lab.replication.configuration_server.access import operator_of
from lab.replication.configuration_server.errors import ControlError
from lab.replication.configuration_server.overview import RECENT_JOBS, Overview
from lab.replication.configuration_server.parsing import number_in
from lab.replication.configuration_server.sessions import SessionTable
from lab.replication.configuration_server.site import pages
from lab.replication.configuration_server.site.forms import arguments_of
from lab.replication.configuration_server.site.guard import FIELD, HEADERS, Guard, require_html

Start = Callable[[str, str, Mapping[str, Any]], int]
"""Starts an operation of a machine, as the API does, and returns the number of its job."""
Page = Callable[["Site", web.Request, Peer], Awaitable[web.Response]]


def _page(handler: Page) -> Callable[[Site, web.Request], Awaitable[web.Response]]:
    """Ask for the certificate first, and show what is refused as a page too."""

    @wraps(handler)
    async def guarded(site: Site, request: web.Request) -> web.Response:
        try:
            require_html(request)
            return await handler(site, request, operator_of(request))
        except ControlError as error:
            return _answer(pages.error_page(error.status, error.kind, str(error)), error.status)

    return guarded


@dataclass(frozen=True)
class Site:
    """Shows the same documents as the API, and starts operations by the same way."""

    server: str
    overview: Overview
    sessions: SessionTable
    start: Start
    guard: Guard = field(default_factory=Guard)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/console", self.everything),
            web.get("/console/style.css", self.style),
            web.get("/console/machines/{name}", self.machine),
            web.get("/console/jobs/{id}", self.job),
            web.post("/console/machines/{name}/operations/{operation}", self.operate),
        ]

    @_page
    async def everything(self, request: web.Request, peer: Peer) -> web.Response:  # noqa: ARG002
        """Show everything at a glance."""
        return _answer(pages.overview_page(self.server, self.overview.document()))

    @_page
    async def machine(self, request: web.Request, peer: Peer) -> web.Response:
        """Show a machine, with a form for each operation that is allowed now."""
        machine = self.overview.machines.get(request.match_info["name"])
        points = [point.to_json() for point in self.sessions.points(machine.attributes.get("stream"))]
        jobs = self.overview.jobs.recent(RECENT_JOBS, machine.name)
        view = self.overview.views.machine(machine)
        return _answer(pages.machine_page(view, points, jobs, self.guard.token(peer)))

    @_page
    async def job(self, request: web.Request, peer: Peer) -> web.Response:  # noqa: ARG002
        """Show a job."""
        return _answer(pages.job_page(self.overview.jobs.get(number_in(request.match_info["id"], "job"))))

    @_page
    async def operate(self, request: web.Request, peer: Peer) -> web.Response:
        """Start an operation and show its job."""
        sent = await request.post()
        self.guard.check(request, peer, str(sent.get(FIELD, "")))
        operation = request.match_info["operation"]
        job = self.start(request.match_info["name"], operation, arguments_of(operation, sent))
        return web.Response(status=303, headers={**HEADERS, "Location": f"/console/jobs/{job}"})

    async def style(self, request: web.Request) -> web.Response:
        """Return the style sheet."""
        operator_of(request)
        return web.Response(text=pages.STYLE, content_type="text/css", headers=HEADERS)


def _answer(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)
