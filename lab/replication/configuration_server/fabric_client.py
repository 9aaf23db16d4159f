"""Asking the fabric of a site for disks and machines, as a product asks its hypervisor manager."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from lab.replication.common.config import Endpoint
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.settings import Card

NOT_FOUND = 404
SUCCESS = range(200, 300)


class FabricClient:
    """One site's fabric. Calls are idempotent, so a job that failed half-way can be started again."""

    def __init__(self, site: str, endpoint: Endpoint, context: ssl.SSLContext, seconds: float) -> None:
        self._site = site
        self._base = f"https://{endpoint.address}:{endpoint.port}/v1"
        self._context = context
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=30)
        self._session: aiohttp.ClientSession | None = None

    async def create_disk(self, name: str, size: int) -> None:
        """Make an empty disk; one of that name and size that exists already is kept."""
        await self._call("POST", "/disks", {"name": name, "size": size})

    async def clone_disk(self, source: str, name: str) -> None:
        """Copy a disk as it is now."""
        await self._call("POST", f"/disks/{quote(source)}/clone", {"name": name})

    async def grow_disk(self, name: str, size: int) -> None:
        """Make a disk larger where it is; no effect when it has that size."""
        await self._call("POST", f"/disks/{quote(name)}/grow", {"size": size})

    async def attach_disk(self, name: str, machine: str, serial: str | None = None) -> str:
        """Plug a disk in and return its serial; without one the fabric chooses."""
        body = {"machine": machine, **({"serial": serial} if serial else {})}
        return str((await self._call("POST", f"/disks/{quote(name)}/attach", body))["serial"])

    async def detach_disk(self, name: str) -> None:
        """Unplug a disk; no effect when it is in no machine, or does not exist."""
        await self._call("POST", f"/disks/{quote(name)}/detach", {}, may_be_missing=True)

    async def delete_disk(self, name: str) -> None:
        """Remove a disk, if it exists."""
        await self._call("DELETE", f"/disks/{quote(name)}", None, may_be_missing=True)

    async def create_machine(
        self, name: str, *, cpus: int, memory_mib: int, disks: Sequence[Mapping[str, str]], cards: Sequence[Card]
    ) -> None:
        """Make a machine; ``disks`` are ``{disk, serial}``, a card without address is the management card."""
        management = next((card.mac for card in cards if card.address is None), None)
        nics = [{"network": card.network, "mac": card.mac} for card in cards if card.address is not None]
        body = {"name": name, "cpus": cpus, "memory_mib": memory_mib, "disks": list(disks), "nics": nics}
        await self._call("POST", "/machines", {**body, "management_mac": management})

    async def machine(self, name: str) -> dict[str, Any] | None:
        """Return ``{state, disks}`` of a machine, or None when there is none."""
        return await self._call("GET", f"/machines/{quote(name)}", None, may_be_missing=True) or None

    async def power(self, name: str, action: str, *, may_be_missing: bool = False) -> None:
        """Switch a machine: on, off, or shutdown (asks the system and waits)."""
        await self._call("POST", f"/machines/{quote(name)}/power", {"action": action}, may_be_missing=may_be_missing)

    async def delete_machine(self, name: str) -> None:
        """Forget a machine that is off, if it exists; its disks stay."""
        await self._call("DELETE", f"/machines/{quote(name)}", None, may_be_missing=True)

    async def inventory(self) -> dict[str, Any] | None:
        """Return what the fabric has discovered on its VMware host, or None when it follows none."""
        return await self._call("GET", "/inventory", None, may_be_missing=True) or None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: str, path: str, body: object, *, may_be_missing: bool = False) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.request(method, self._base + path, json=body, ssl=self._context) as answer:
                value = await answer.json(content_type=None) if answer.status != 204 else {}  # noqa: PLR2004
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise JobError("fabric-unreachable", f"fabric {self._site}: {method} {path}: {error!r}") from error
        if status == NOT_FOUND and may_be_missing:
            return {}
        if status not in SUCCESS:
            failure = value.get("error", {}) if isinstance(value, dict) else {}
            message = f"fabric {self._site}: {method} {path}: {failure.get('message', status)}"
            raise JobError(f"fabric-{failure.get('type', 'error')}", message)
        return dict(value or {})


class Fabrics:
    """The fabrics of all sites, by name."""

    def __init__(self, clients: Mapping[str, FabricClient]) -> None:
        self._clients = clients

    def __contains__(self, site: str) -> bool:
        """Whether there is a fabric of that site."""
        return site in self._clients

    def __getitem__(self, site: str) -> FabricClient:
        """Return the fabric of a site.

        Raises:
            JobError: it is not configured.
        """
        if site not in self._clients:
            raise JobError("fabric-unknown", f"no fabric {site!r}; known are {', '.join(sorted(self._clients))}")
        return self._clients[site]

    def names(self) -> list[str]:
        """Return the sites, by name."""
        return sorted(self._clients)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
