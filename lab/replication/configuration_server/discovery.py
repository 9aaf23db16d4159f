"""The inventories that the fabrics of VMware sites discover: shown to operators, asked before a machine is taken in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from lab.replication.configuration_server.access import operator_of
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import Fabrics
from lab.replication.configuration_server.machines import Machine

NOT_ON_ESXI = "not-on-esxi"
"""The type of the error for a machine of a VMware scenario that no host or vCenter knows (seed L51, L143)."""


@dataclass(frozen=True)
class DiscoveryApi:
    """The handler of ``GET /v1/inventory``."""

    fabrics: Fabrics

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/v1/inventory", self.inventory)]

    async def inventory(self, request: web.Request) -> web.Response:
        """Return ``{sites: {site: inventory}}``; a site that cannot be followed now has ``error`` instead."""
        operator_of(request)
        sites: dict[str, Any] = {}
        for site in self.fabrics.names():
            try:
                found = await self.fabrics[site].inventory()
            except JobError as error:
                found = {"error": {"type": error.kind, "message": str(error)}}
            if found is not None:
                sites[site] = found
        return web.json_response({"sites": sites})


async def require_on_esxi(fabrics: Fabrics, machine: Machine) -> None:
    """Refuse a machine of a VMware scenario that is not in the inventory of its site.

    Raises:
        JobError: not-on-esxi, or the fabric's own when the inventory is not known.
    """
    wanted, site = machine.settings.vmware, machine.settings.primary_fabric
    if wanted is None:
        return
    found = await fabrics[site].inventory()
    if found is None:
        raise JobError(NOT_ON_ESXI, f"{machine.name}: the host of {site} is no ESXi host and no vCenter")
    names = [str(item["name"]) for item in found["machines"]]
    if wanted not in names:
        known = ", ".join(names) or "none"
        raise JobError(NOT_ON_ESXI, f"{machine.name}: {wanted} is not in the inventory of {site} (there are: {known})")


async def require_vmware(fabrics: Fabrics, machine: Machine) -> None:
    """Refuse a way back to a place that is no VMware host (seed L79, L90: P2A-FB-VMWARE).

    Raises:
        JobError: not-on-esxi, or the fabric's own when its inventory is not known.
    """
    site = machine.settings.failback_fabric
    if await fabrics[site].inventory() is None:
        message = f"{machine.name} can only come back to VMware: the host of {site} is no ESXi host and no vCenter"
        raise JobError(NOT_ON_ESXI, message)
