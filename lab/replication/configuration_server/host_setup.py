"""Where hypervisor hosts are managed (seed L98, L128, L166): Hyper-V sites, or clouds of VMM servers.

``PUT /v1/fabrics/{name}`` ``{kind: "hyper-v-site" | "vmm", hosts?, policy?}`` and
``PUT /v1/clouds/{name}`` ``{fabric, capability_profile, hosts, policy?}``. A site or cloud says which policy all
machines on its hosts have (seed L100, L177); what is not set up in this order is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from lab.replication.configuration_server.access import json_body, operator_of
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, SetupRefused
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.parsing import Reader, name_in
from lab.replication.configuration_server.settings import Server

SITE, VMM = "hyper-v-site", "vmm"
KINDS = (SITE, VMM)
HYPER_V = "hyper-v"
"""The capability profile that a cloud has to have (seed L166)."""
FABRIC, CLOUD = "fabric", "cloud"


@dataclass(frozen=True)
class Place:
    """A Hyper-V site or a cloud: hosts that share a policy."""

    name: str
    managed: bool
    hosts: tuple[str, ...]
    policy: str | None


@dataclass(frozen=True)
class HostSetup:
    """What is known of the management of hosts, and the routes by which operators say it."""

    database: Database
    events: EventLog

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/fabrics", self.show),
            web.put("/v1/fabrics/{name}", self.put_fabric),
            web.put("/v1/clouds/{name}", self.put_cloud),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Return fabrics and clouds."""
        operator_of(request)
        return web.json_response(
            {"fabrics": self._all(FABRIC), "clouds": self._all(CLOUD), "advisories": self.advisories()}
        )

    async def put_fabric(self, request: web.Request) -> web.Response:
        """Store a Hyper-V site with its hosts, or a VMM server."""
        operator_of(request)
        name = name_in(request.match_info["name"])
        reader = Reader.of(await json_body(request), "fabric")
        kind = reader.text("kind")
        if kind not in KINDS:
            raise BadRequest(f"fabric.kind: one of {', '.join(KINDS)} is expected, not {kind!r}")
        reader.only(*(("kind", "hosts", "policy") if kind == SITE else ("kind",)))
        if kind == SITE and not reader.texts("hosts"):
            raise BadRequest("fabric.hosts: a Hyper-V site needs a host")
        self._put(FABRIC, name, reader.value)
        return web.json_response({"fabric": name})

    async def put_cloud(self, request: web.Request) -> web.Response:
        """Store a cloud of a VMM server; its capability profile has to be Hyper-V's, and it needs a host."""
        operator_of(request)
        name = name_in(request.match_info["name"])
        reader = Reader.of(await json_body(request), "cloud")
        reader.only("fabric", "capability_profile", "hosts", "policy")
        fabric = self._all(FABRIC).get(reader.name("fabric"))
        if fabric is None or fabric["kind"] != VMM:
            message = f"cloud {name} comes after its VMM server, fabric {reader.name('fabric')!r} (seed L166)"
            raise SetupRefused(CLOUD, (FABRIC,), message)
        profile = reader.value.get("capability_profile")
        if profile != HYPER_V:
            raise BadRequest(f"cloud.capability_profile: {HYPER_V!r} is expected, not {profile!r} (seed L166)")
        if not reader.texts("hosts"):
            raise BadRequest("cloud.hosts: a cloud needs a host (seed L167)")
        self._put(CLOUD, name, reader.value)
        return web.json_response({"cloud": name})

    def advisories(self) -> list[str]:
        """Return what is recommended and not so: a VMM server in each site (seed L166)."""
        servers = [name for name, fabric in self._all(FABRIC).items() if fabric["kind"] == VMM]
        return ["single-vmm"] if len(servers) == 1 else []

    def place_of(self, host: str) -> Place | None:
        """Return where a host is managed."""
        return next((place for place in self._places() if host in place.hosts), None)

    def refusal(self, source: str, recovery: Server | None, policy: str) -> str | None:
        """Return what has to be set up before a machine of ``source`` is protected, None when nothing is missing.

        ``recovery`` is the host that keeps the replica, None for Azure.
        """
        place = self.place_of(source)
        if place is None:
            return f"host {source} is in no Hyper-V site and no cloud (seed L98)"
        if recovery is not None:
            other = self.place_of(recovery.name)
            for name, where in ((source, place), (recovery.name, other)):
                if where is None or not where.managed:
                    return f"host {name} is in no VMM cloud, which a secondary site needs (seed L128)"
        if place.policy != policy:
            return f"all machines of {place.name} have the policy {place.policy}, not {policy} (seed L100)"
        return None

    def _places(self) -> list[Place]:
        sites = {name: fabric for name, fabric in self._all(FABRIC).items() if fabric["kind"] == SITE}
        return [_place(name, sites[name], managed=False) for name in sites] + [
            _place(name, cloud, managed=True) for name, cloud in self._all(CLOUD).items()
        ]

    def _all(self, step: str) -> dict[str, dict[str, Any]]:
        rows = self.database.rows("SELECT name, document FROM host_setup WHERE step = ? ORDER BY name", step)
        return {row["name"]: json.loads(row["document"]) for row in rows}

    def _put(self, step: str, name: str, document: Mapping[str, Any]) -> None:
        with self.database.transaction():
            statement = "INSERT OR REPLACE INTO host_setup (step, name, document, made_ns) VALUES (?, ?, ?, ?)"
            self.database.write(statement, step, name, json.dumps(document), time.time_ns())
            self.events.add("setup", {"step": step, "name": name})


def _place(name: str, document: Mapping[str, Any], *, managed: bool) -> Place:
    return Place(name, managed, tuple(document.get("hosts", ())), document.get("policy"))
