"""An HTTPS server for data, in a thread of its own, whose ports can change while it runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from lab.replication.common.tls import Peer, UnknownPeer, peer_of

if TYPE_CHECKING:
    # Debian's aiohttp 3.8 does not have this name.
    from aiohttp.typedefs import Middleware

log = logging.getLogger(__name__)

CHANGE_TIMEOUT_S = 30.0
GRACE_S = 2.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def peer(request: web.Request) -> Peer:
    """Return who sent ``request``.

    Raises:
        web.HTTPForbidden: its certificate names no component.
    """
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    try:
        return peer_of(certificate or {})
    except UnknownPeer as error:
        log.warning("refused %s %s: %s", request.method, request.path, error)
        raise web.HTTPForbidden(text=str(error)) from error


def allow(request: web.Request, *kinds: str, name: str | None = None) -> Peer:
    """Return the peer if it is of one of ``kinds`` (and is called ``name``).

    Raises:
        web.HTTPForbidden: it is not; that is logged.
    """
    found = peer(request)
    if found.kind not in kinds or (name is not None and found.name != name):
        log.warning("refused %s %s from %s %s", request.method, request.path, found.kind, found.name)
        raise web.HTTPForbidden(text=f"{found.kind} {found.name} may not do this")
    return found


class DataServer:
    """Serves ``routes`` on a changing set of ports; every port has its own connections and closes with them."""

    def __init__(self, context: ssl.SSLContext, routes: Sequence[web.RouteDef]) -> None:
        self._context = context
        self._routes = routes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="data-server", daemon=True)
        self._runners: dict[int, web.AppRunner] = {}
        self._handling: dict[int, set[asyncio.Task[None]]] = {}

    def start(self) -> None:
        """Start the thread; no port is open yet."""
        self._thread.start()

    def listen_on(self, ports: Collection[int]) -> None:
        """Open and close ports until exactly ``ports`` are open.

        Raises:
            OSError: a port is taken.
            TimeoutError: it took too long.
        """
        asyncio.run_coroutine_threadsafe(self._change(set(ports)), self._loop).result(CHANGE_TIMEOUT_S)

    def close(self) -> None:
        """Close every port and end the thread."""
        if self._thread.is_alive():
            self.listen_on(())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CHANGE_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _change(self, ports: set[int]) -> None:
        for port in set(self._runners) - ports:
            await self._close_port(port)
        for port in ports - set(self._runners):
            await self._open_port(port)

    async def _open_port(self, port: int) -> None:
        handling: set[asyncio.Task[None]] = set()
        application = web.Application(middlewares=[_tracked(handling)])
        application.add_routes(self._routes)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=port, ssl_context=self._context).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runners[port] = runner
        self._handling[port] = handling
        log.info("listening on port %d", port)

    async def _close_port(self, port: int) -> None:
        runner = self._runners.pop(port)
        handling = self._handling.pop(port)
        # Without this a stalled upload would hold the port for a minute.
        for task in handling:
            task.cancel()
        if handling:
            await asyncio.wait(handling, timeout=GRACE_S)
        _abort_connections(runner)
        await runner.cleanup()
        log.info("port %d is closed", port)


def _abort_connections(runner: web.AppRunner) -> None:
    """End connections without the TLS farewell, for which a silent peer could make us wait."""
    if runner.server is not None:
        for connection in list(runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()


def _tracked(handling: set[asyncio.Task[None]]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            handling.add(task)
        try:
            return await handler(request)
        finally:
            if task is not None:
                handling.discard(task)

    return middleware
