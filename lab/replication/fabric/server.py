"""The HTTPS service of a fabric. Only the configuration server may call; drivers block, so they run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from lab.hypervisors.protocols import Conflict, Hypervisor, HypervisorError, NotFound
from lab.replication.common.answers import Answers, BadBody, body_of, caller_of
from lab.replication.common.tls import Peer, UnknownPeer, server_context
from lab.replication.fabric.config import FabricConfig
from lab.replication.fabric.discovery import Follower, NoInventory
from lab.replication.fabric.inventory import Inventory
from lab.replication.fabric.rules import BadAsk, NotAllowed
from lab.waiting import DeadlineExceeded

CALLER = "configuration-server"
MOST_BODY = 1 << 18


class NoDiscovery(Exception):
    """This fabric's host is none of VMware's, or it was given no account to look with."""


ANSWERS = Answers(
    {
        BadAsk: (400, "bad-request"),
        BadBody: (400, "bad-request"),
        NotAllowed: (403, "forbidden"),
        NotFound: (404, "not-found"),
        Conflict: (409, "conflict"),
        DeadlineExceeded: (504, "deadline-exceeded"),
        NoDiscovery: (404, "no-discovery"),
        NoInventory: (503, "no-inventory"),
        HypervisorError: (502, "hypervisor-error"),
    }
)

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
        value = await body_of(request)
        return await self._locked(str(value.get("name")), lambda: self._inventory.create_disk(value))

    async def _clone_disk(self, request: web.Request) -> web.Response:
        value, disk = await body_of(request), request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.clone_disk(disk, value))

    async def _grow_disk(self, request: web.Request) -> web.Response:
        value, disk = await body_of(request), request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.grow_disk(disk, value))

    async def _attach_disk(self, request: web.Request) -> web.Response:
        value, disk = await body_of(request), request.match_info["disk"]
        # Two disks must not find the same free place in a machine: the machine is what is locked.
        return await self._locked(str(value.get("machine")), lambda: self._inventory.attach_disk(disk, value))

    async def _detach_disk(self, request: web.Request) -> web.Response:
        disk = request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.detach_disk(disk))

    async def _delete_disk(self, request: web.Request) -> web.Response:
        disk = request.match_info["disk"]
        return await self._locked(disk, lambda: self._inventory.delete_disk(disk))

    async def _create_machine(self, request: web.Request) -> web.Response:
        value = await body_of(request)
        return await self._locked(str(value.get("name")), lambda: self._inventory.create_machine(value))

    async def _machine(self, request: web.Request) -> web.Response:
        machine = request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.machine(machine))

    async def _power(self, request: web.Request) -> web.Response:
        value, machine = await body_of(request), request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.switch(machine, value))

    async def _delete_machine(self, request: web.Request) -> web.Response:
        machine = request.match_info["machine"]
        return await self._locked(machine, lambda: self._inventory.delete_machine(machine))

    async def _discovered(self, request: web.Request) -> web.Response:  # noqa: ARG002 - the handler's signature
        if self._follower is None:
            return ANSWERS.failure(NoDiscovery(f"fabric {self._config.name} follows no inventory"))
        return await ANSWERS.threaded(self._follower.inventory)

    async def _locked(self, name: str, work: Callable[[], dict[str, Any]]) -> web.Response:
        async with self._locks.of(name):
            return await ANSWERS.threaded(work)


@web.middleware
async def _only_configuration_server(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _require_caller(caller_of(request))
        return await handler(request)
    except (UnknownPeer, NotAllowed) as error:
        return ANSWERS.failure(NotAllowed(str(error)))
    except (BadAsk, BadBody) as error:
        return ANSWERS.failure(error)


def _require_caller(peer: Peer) -> None:
    if peer.kind != CALLER:
        raise NotAllowed(f"{peer.kind} {peer.name} may not call a fabric")
