"""The HTTPS service of a vault. Configuration servers call it, and it calls nobody on-premises (seed L65).

A provider reads the disks of the one machine that comes back to its host, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress

from aiohttp import web

from lab.hypervisors.protocols import CloudHypervisor, Conflict, HypervisorError, NotFound
from lab.hypervisors.public import PublicAddresses
from lab.replication.common.answers import Answers, body_of, caller_of
from lab.replication.common.durable import JSON
from lab.replication.common.signals import Signal
from lab.replication.common.tls import UnknownPeer, server_context
from lab.replication.vault.compute import Compute
from lab.replication.vault.config import VaultConfig
from lab.replication.vault.exports import Exports
from lab.replication.vault.handing_back import HandingBack
from lab.replication.vault.items import Items
from lab.replication.vault.ledger import Ledger
from lab.replication.vault.setup import SOURCES, Step, StepTooEarly, require_before
from lab.replication.vault.storage import Storage, StorageError, WentBack
from lab.waiting import DeadlineExceeded

CALLER = "configuration-server"
READER = "provider"
READABLE = "/v1/exports/"
"""What the provider of a host may read, of the machine that comes back to it and of no other."""
MOST_BODY = 1 << 20
LONGEST_WAIT_S = 30.0
MERGE_S = 900.0
HERE = tuple(step for step in Step if step is not Step.MOBILITY)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _details(error: Exception) -> JSON:
    return {"step": error.step, "missing": list(error.missing)} if isinstance(error, StepTooEarly) else {}


STATUS: Mapping[type[Exception], tuple[int, str]] = {
    StepTooEarly: (409, "step-too-early"),
    NotFound: (404, "not-found"),
    Conflict: (409, "conflict"),
    DeadlineExceeded: (504, "deadline-exceeded"),
    HypervisorError: (502, "hypervisor-error"),
    StorageError: (502, "storage-error"),
    WentBack: (503, "storage-went-back"),
    KeyError: (400, "bad-request"),
    TypeError: (400, "bad-request"),
    ValueError: (400, "bad-request"),
}
ANSWERS = Answers(STATUS, _details)


class VaultServer:
    """A running vault; ``start`` and ``close`` once each, inside an event loop."""

    def __init__(
        self,
        config: VaultConfig,
        storage: Storage,
        hypervisor: CloudHypervisor,
        exports: Exports,
        addresses: PublicAddresses | None = None,
    ) -> None:
        self._config = config
        self._storage = storage
        self._news = Signal()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ledger = Ledger(config.state_dir / "vault.db", self._announce)
        self._compute = Compute(hypervisor, exports, addresses)
        self._items = Items(
            config.state_dir / "streams",
            storage,
            self._compute,
            self._ledger,
            settle_s=config.settle_s,
            access_s=config.access_s,
        )
        self._handing_back = HandingBack(config.state_dir / "handing-back", self._compute)
        self._runner = web.AppRunner(self._application(), access_log=None)
        self._closing = False

    @property
    def port(self) -> int:
        """The port that is listened on, useful when the configuration says 0."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Serve.

        Raises:
            OSError: the port is taken.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._items.start)
        await self._runner.setup()
        context = server_context(self._config.identity_dir, require_client=True)
        listen = self._config.listen
        await web.TCPSite(self._runner, listen.address, listen.port, ssl_context=context).start()

    async def close(self) -> None:
        """Stop serving, merging, and what machines read."""
        self._closing = True
        self._news.notify()
        await self._runner.cleanup()
        await asyncio.to_thread(self._items.close)
        await asyncio.to_thread(self._compute.close)
        self._storage.close()
        self._ledger.close()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_only_configuration_servers], client_max_size=MOST_BODY)
        setup = "/v1/setup/{step}/{name}"
        item, machine = "/v1/items/{stream}", "/v1/machines/{machine}"
        application.add_routes(
            [
                web.get("/v1/setup", self._show_setup),
                web.put(setup, self._put_setup),
                web.put(item, self._enable),
                web.patch(item, self._change),
                web.get(item, _answering(lambda r: self._items.known(_stream(r)).status())),
                web.delete(item, _answering(lambda r: self._items.disable(_stream(r)))),
                web.post(item + "/access", _answering(lambda r: self._items.access(_stream(r)))),
                web.post(item + "/wait", self._wait),
                web.post(item + "/forget-points", self._forget),
                web.post("/v1/machines", self._create_machine),
                web.get(machine, _answering(lambda r: self._items.machine(r.match_info["machine"]))),
                web.delete(machine, _answering(lambda r: self._items.delete_machine(r.match_info["machine"]))),
                web.post(machine + "/power", self._power),
                web.post(machine + "/export", self._export),
                web.delete(machine + "/export", _answering(self._end_export)),
                web.get(READABLE + "{machine}/{disk}", self._read_export),
                web.post(READABLE + "{machine}/{disk}/compare", self._compare_export),
                web.get("/v1/jobs", _answering(lambda _: {"jobs": self._ledger.jobs()})),
                web.get("/v1/events", self._events),
            ]
        )
        return application

    async def _show_setup(self, _: web.Request) -> web.Response:
        return await ANSWERS.threaded(lambda: {"setup": self._ledger.setup()})

    async def _put_setup(self, request: web.Request) -> web.Response:
        value, name = await body_of(request), request.match_info["name"]
        return await ANSWERS.threaded(lambda: self._set_up(request.match_info["step"], name, value))

    def _set_up(self, wanted: str, name: str, value: JSON) -> JSON:
        step = Step(wanted)
        if step in (Step.MOBILITY, Step.ENABLE, Step.TEST_FAILOVER):
            raise ValueError(f"{step} is not set up here")
        self._require(step)
        if step is Step.GOAL and value.get("source") not in SOURCES:
            raise ValueError(f"source: one of {', '.join(SOURCES)} is expected, not {value.get('source')!r}")
        if step is Step.VAULT:
            # Also the proof that the storage answers: without it there is no vault to go on with.
            self._storage.open_stream("vault-check")
        self._ledger.put_setup(step, name, value)
        return {"step": step, "name": name}

    async def _enable(self, request: web.Request) -> web.Response:
        value, stream = await body_of(request), _stream(request)

        def enable() -> JSON:
            self._require(Step.ENABLE)
            server, policies = value.pop("server"), self._ledger.setup()[Step.POLICY]
            if server not in self._ledger.setup()[Step.SERVERS]:
                raise NotFound(f"{server} was not added to the vault (seed L51)")
            if value.pop("policy") not in policies:
                raise NotFound(f"the vault has no such policy; known are {', '.join(policies)}")
            self._require_networks(value.pop("networks", []))
            return self._items.enable({**value, "stream": stream})

        return await ANSWERS.threaded(enable)

    async def _change(self, request: web.Request) -> web.Response:
        value, stream = await body_of(request), _stream(request)

        def change() -> JSON:
            self._items.known(stream)
            return self._items.enable({**value, "stream": stream})

        return await ANSWERS.threaded(change)

    async def _wait(self, request: web.Request) -> web.Response:
        value, stream = await body_of(request), _stream(request)
        seconds = min(float(value.get("timeout_s", MERGE_S)), MERGE_S)
        return await ANSWERS.threaded(lambda: self._items.wait_merged(stream, int(value["sequence"]), seconds))

    async def _forget(self, request: web.Request) -> web.Response:
        value, stream = await body_of(request), _stream(request)
        return await ANSWERS.threaded(lambda: self._items.forget_points(stream, value.get("keep")))

    async def _create_machine(self, request: web.Request) -> web.Response:
        value = await body_of(request)

        def create() -> JSON:
            self._require(Step.TEST_FAILOVER, also={Step.ENABLE} if self._ledger.items() else set())
            return self._items.create_machine(value)

        return await ANSWERS.threaded(create)

    async def _power(self, request: web.Request) -> web.Response:
        value, machine = await body_of(request), request.match_info["machine"]
        return await ANSWERS.threaded(lambda: self._items.switch(machine, value.get("action")))

    async def _export(self, request: web.Request) -> web.Response:
        value, machine = await body_of(request), request.match_info["machine"]
        return await ANSWERS.threaded(lambda: self._handing_back.export(machine, str(value["reader"])))

    def _end_export(self, request: web.Request) -> JSON:
        self._handing_back.end(request.match_info["machine"])
        return {}

    async def _read_export(self, request: web.Request) -> web.Response:
        offset, length = (int(request.query[key]) for key in ("offset", "length"))
        place = (caller_of(request).name, request.match_info["machine"], request.match_info["disk"])
        try:
            content = await asyncio.to_thread(self._handing_back.read, *place, offset, length)
        except ANSWERS.known as error:
            return ANSWERS.failure(error)
        return web.Response(body=content, content_type="application/octet-stream")

    async def _compare_export(self, request: web.Request) -> web.Response:
        digests = await request.read()
        chunk, first = (int(request.query[key]) for key in ("chunk", "first"))
        place = (caller_of(request).name, request.match_info["machine"], request.match_info["disk"])
        compare = self._handing_back.compare
        return await ANSWERS.threaded(lambda: {"differ": compare(*place, digests, chunk=chunk, first=first)})

    async def _events(self, request: web.Request) -> web.Response:
        """Answer as soon as there are events, or after ``wait`` seconds without."""
        after = int(request.query.get("after", 0))
        loop = asyncio.get_running_loop()
        end = loop.time() + min(float(request.query.get("wait", 0)), LONGEST_WAIT_S)
        while True:
            coming = self._news.coming()
            found = await asyncio.to_thread(self._ledger.events, after)
            if found or self._closing or loop.time() >= end:
                return web.json_response({"events": found})
            await self._news.wait(end - loop.time(), coming)

    def _announce(self) -> None:
        """Wake who waits for events; threads add them."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._news.notify)

    def _require_networks(self, wanted: Collection[str]) -> None:
        """Refuse replicas on a network that nobody has set up (seed L96): a failover would be too late to find out."""
        there = self._config.region.networks
        absent = sorted(set(wanted) - there) if there is not None else []
        if there is not None and absent:
            raise NotFound(f"there is no network {', '.join(absent)} in Azure; set up are {', '.join(sorted(there))}")

    def _require(self, step: Step, *, also: set[Step] | None = None) -> None:
        require_before(step, {**self._ledger.setup(), **{each: {} for each in also or set()}}, known_here=HERE)


def _stream(request: web.Request) -> str:
    return str(request.match_info["stream"])


def _answering(work: Callable[[web.Request], JSON]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return await ANSWERS.threaded(lambda: work(request))

    return handler


@web.middleware
async def _only_configuration_servers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        peer = caller_of(request)
    except UnknownPeer as error:
        return web.json_response({"error": {"type": "forbidden", "message": str(error)}}, status=403)
    if peer.kind != (READER if request.path.startswith(READABLE) else CALLER):
        message = f"{peer.kind} {peer.name} may not call a vault"
        return web.json_response({"error": {"type": "forbidden", "message": message}}, status=403)
    try:
        return await handler(request)
    except (KeyError, ValueError) as error:
        return ANSWERS.failure(error)
