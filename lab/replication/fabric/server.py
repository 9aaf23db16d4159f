"""The HTTPS service of a fabric. Only the configuration server may call; drivers block, so they run in threads."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from lab.hypervisors.protocols import Conflict, Hypervisor, HypervisorError, NotFound
from lab.replication.common.tls import Peer, UnknownPeer, peer_of, server_context
from lab.replication.fabric.config import FabricConfig
from lab.replication.fabric.discovery import Follower, NoInventory
from lab.replication.fabric.inventory import Inventory
from lab.replication.fabric.rules import BadAsk, NotAllowed
from lab.waiting import DeadlineExceeded

log = logging.getLogger(__name__)

CALLER = "configuration-server"
MOST_BODY = 1 << 18


class NoDiscovery(Exception):
    """This fabric's host is none of VMware's, or it was given no account to look with."""


STATUS: Mapping[type[Exception], tuple[int, str]] = {
    BadAsk: (400, "bad-request"),
    NotAllowed: (403, "forbidden"),
    NotFound: (404, "not-found"),
    Conflict: (409, "conflict"),
    DeadlineExceeded: (504, "deadline-exceeded"),
    NoDiscovery: (404, "no-discovery"),
    NoInventory: (503, "no-inventory"),
    HypervisorError: (502, "hypervisor-error"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Locks:
    """One lock for each object: two calls about one disk or machine take turns."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def of(self, name: str) -> asyncio.Lock:
        """Return the lock of an object."""
        return self._locks.setdefault(name, asyncio.Lock())


class FabricServer:
    """A running fabric; ``start`` and ``close`` once each, inside an event loop."""

    def __init__(self, config: FabricConfig, hypervisor: Hypervisor, follower: Follower | None = None) -> None:
        self._config = config
        self._follower = follower
        self._inventory = Inventory(config, hypervisor)
        self._locks = Locks()
        self._runner = web.AppRunner(self._application(), access_log=None)

    @property
    def port(self) -> int:
        """The port that is listened on, useful when the configuration says 0."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Serve.

        Raises:
            OSError: the port is taken.
        """
        if self._follower is not None:
            self._follower.start()
        await self._runner.setup()
        context = server_context(self._config.identity_dir, require_client=True)
        listen = self._config.listen
        await web.TCPSite(self._runner, listen.address, listen.port, ssl_context=context).start()

    async def close(self) -> None:
        """Stop serving and release the hypervisor."""
        await self._runner.cleanup()
        if self._follower is not None:
            self._follower.close()
        self._inventory.close()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_only_configuration_server], client_max_size=MOST_BODY)
        application.add_routes(
            [
                web.post("/v1/disks", self._create_disk),
                web.post("/v1/disks/{disk}/clone", self._clone_disk),
                web.post("/v1/disks/{disk}/grow", self._grow_disk),
                web.post("/v1/disks/{disk}/attach", self._attach_disk),
                web.post("/v1/disks/{disk}/detach", self._detach_disk),
                web.delete("/v1/disks/{disk}", self._delete_disk),
                web.post("/v1/machines", self._create_machine),
                web.get("/v1/machines/{machine}", self._machine),
                web.post("/v1/machines/{machine}/power", self._power),
                web.delete("/v1/machines/{machine}", self._delete_machine),
                web.get("/v1/inventory", self._discovered),
            ]
        )
        return application

    async def _create_disk(self, request: web.Request) -> web.Response:
        value = await _body(request)
        return await self._locked(str(value.get("name")), lambda: self._inventory.create_disk(value))

    async def _clone_disk(self, request: web.Request) -> web.Response:
        value, disk = await _body(request), request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.clone_disk(disk, value))

    async def _grow_disk(self, request: web.Request) -> web.Response:
        value, disk = await _body(request), request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.grow_disk(disk, value))

    async def _attach_disk(self, request: web.Request) -> web.Response:
        value, disk = await _body(request), request.match_info["disk"]
        # Two disks must not find the same free place in a machine: the machine is what is locked.
        return await self._locked(str(value.get("machine")), lambda: self._inventory.attach_disk(disk, value))

    async def _detach_disk(self, request: web.Request) -> web.Response:
        disk = request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.detach_disk(disk))

    async def _delete_disk(self, request: web.Request) -> web.Response:
        disk = request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.delete_disk(disk))

    async def _create_machine(self, request: web.Request) -> web.Response:
        value = await _body(request)
        return await self._locked(str(value.get("name")), lambda: self._inventory.create_machine(value))

    async def _machine(self, request: web.Request) -> web.Response:
        machine = request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.machine(machine))

    async def _power(self, request: web.Request) -> web.Response:
        value, machine = await _body(request), request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.switch(machine, value))

    async def _delete_machine(self, request: web.Request) -> web.Response:
        machine = request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.delete_machine(machine))

    async def _discovered(self, request: web.Request) -> web.Response:  # noqa: ARG002 - the handler's signature
        if self._follower is None:
            return _failure(NoDiscovery(f"fabric {self._config.name} follows no inventory"))
        try:
            return web.json_response(await asyncio.to_thread(self._follower.inventory))
        except NoInventory as error:
            return _failure(error)

    async def _locked(self, name: str, work: Callable[[], dict[str, Any]]) -> web.Response:
        async with self._locks.of(name):
            try:
                return web.json_response(await asyncio.to_thread(work))
            except tuple(STATUS) as error:
                return _failure(error)


@web.middleware
async def _only_configuration_server(request: web.Request, handler: Handler) -> web.StreamResponse:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    try:
        _require_caller(peer_of(certificate or {}))
        return await handler(request)
    except (UnknownPeer, NotAllowed) as error:
        return _failure(NotAllowed(str(error)))
    except BadAsk as error:
        return _failure(error)


def _require_caller(peer: Peer) -> None:
    if peer.kind != CALLER:
        raise NotAllowed(f"{peer.kind} {peer.name} may not call a fabric")


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise BadAsk(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadAsk("the body is not a JSON object")
    return value


def _failure(error: Exception) -> web.Response:
    status, kind = next(answer for known, answer in STATUS.items() if isinstance(error, known))
    log.warning("%s: %s", kind, error)
    return web.json_response({"error": {"type": kind, "message": str(error)}}, status=status)
