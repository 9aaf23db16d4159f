"""An HTTPS server for bulk data: a thread for each connection, large reads, ports that can change while it runs.

It stands on the standard library's ``http.server`` and not on aiohttp; what is known of the difference, and what is
not, stands in docs/decisions/0004-data-ports.md.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.replication.common.body import Body, BodyTooLong, body_of
from lab.replication.common.durable import JSON
from lab.replication.common.introduction import MOST_BYTES, PATH, Doorkeeper, Introduced
from lab.replication.common.tls import Peer, UnknownPeer, peer_of

log = logging.getLogger(__name__)

IDLE_S = 300.0
HANDSHAKE_S = 60.0
CLOSE_S = 10.0
LONGEST_IGNORED_BYTES = 256 << 20
RETRY_AFTER_S = 5
STREAM = r"/v1/streams/(?P<stream>[A-Za-z0-9._-]+)"
OK, UNAUTHORISED, FORBIDDEN, NOT_FOUND, NO_SPACE = 200, 401, 403, 404, 507


class Refused(Exception):
    """The request is answered with an error: ``{error: {type, message}, ...}``."""

    def __init__(self, status: int, kind: str, message: str, **more: int) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message}, **more}


@dataclass(frozen=True)
class Request:
    """One request: who asks, for what, and the body, still to be read."""

    method: str
    path: str
    parts: dict[str, str]
    query: dict[str, str]
    query_string: str
    peer: Peer
    body: Body

    def allow(self, *kinds: str, name: str | None = None) -> None:
        """Refuse (403, logged) unless the peer is of one of ``kinds`` (and is called ``name``)."""
        if self.peer.kind not in kinds or (name is not None and self.peer.name != name):
            log.warning("refused %s %s from %s %s", self.method, self.path, self.peer.kind, self.peer.name)
            raise Refused(FORBIDDEN, "forbidden", f"{self.peer.kind} {self.peer.name} may not do this")

    def require(self, proof: str) -> None:
        """Refuse (401, logged: it may come again) unless the peer has shown by ``proof`` who it is."""
        if self.peer.proof != proof:
            log.warning("refused %s %s by %s from %s", self.method, self.path, self.peer.proof, self.peer.name)
            raise Refused(UNAUTHORISED, "another-proof", f"{self.peer.name} has to authenticate by {proof}")


@dataclass(frozen=True)
class Response:
    """An answer; ``body`` is JSON already when it is bytes."""

    status: int
    body: JSON | bytes = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A method and a pattern with named groups, and who answers."""

    method: str
    pattern: re.Pattern[str]
    handler: Callable[[Request], Response]


class DataServer:
    """Serves ``routes`` on a changing set of ports; every port has its own connections and closes with them.

    ``address`` is that of the network over which data comes; "" is any. ``doorkeeper`` recognises callers without a
    certificate; nobody else does.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        routes: Sequence[Route],
        address: str = "",
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        self._context = context
        self._doorkeeper = doorkeeper
        self._address = address
        self._routes = routes
        self._ports: dict[int, _Port] = {}
        self._lock = threading.Lock()

    def listen_on(self, ports: Collection[int]) -> None:
        """Open and close ports until exactly ``ports`` are open. Raises OSError for a port that is taken."""
        with self._lock:
            for port in set(self._ports) - set(ports):
                self._ports.pop(port).stop()
                log.info("port %d is closed", port)
            for port in set(ports) - set(self._ports):
                self._ports[port] = _Port((self._address, port), self._context, self._routes, self._doorkeeper)
                log.info("listening on port %d", port)

    def close(self) -> None:
        """Close every port."""
        self.listen_on(())


class _Port(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, place: tuple[str, int], context: ssl.SSLContext, routes: Sequence[Route], doorkeeper: Doorkeeper | None
    ) -> None:
        self.context = context
        self.doorkeeper = doorkeeper
        self.routes = routes
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(place, _Connection)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.2,), name=f"port-{place[1]}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self._open_lock:
            # Without this a stalled upload would hold on to the port's connections.
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(CLOSE_S)

    def opened(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a connection that ended badly: a peer without a proper certificate, or one that went away."""
        del request
        log.warning("connection from %s ended", client_address[0], exc_info=log.isEnabledFor(logging.DEBUG))


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Port
    _introduced: Introduced | None = None

    def setup(self) -> None:
        self.request.settimeout(HANDSHAKE_S)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            log.warning("refused a connection from %s: %s", self.client_address[0], error)
            raise
        self.request.settimeout(IDLE_S)
        self.server.opened(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.closed(self.request)
        super().finish()
        with suppress(OSError):
            self.request.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        log.debug(format, *args)

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        # A proof that has run out ends the connection without an answer: the caller opens another, as after any end.
        over = self._introduced is not None and self._introduced.over
        if over or not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = body_of(self.headers, self.rfile)
        try:
            response = self._answer(body)
        except Refused as refusal:
            response = Response(refusal.status, refusal.body)
        except (OSError, BodyTooLong) as error:
            log.info("%s %s was not finished: %s", self.command, self.path, error)
            self.close_connection = True
            return
        self._send(response)
        self._read_to_end(body)

    def _read_to_end(self, body: Body) -> None:
        """Take in what the handler left: a sender that is cut off in mid-body would never see the answer."""
        left = LONGEST_IGNORED_BYTES
        try:
            for piece in body.pieces():
                left -= len(piece)
                if left < 0:
                    break
        except (OSError, BodyTooLong):
            pass
        if not body.at_end:
            self.close_connection = True

    def _answer(self, body: Body) -> Response:
        address = urlsplit(self.path)
        doorkeeper = self.server.doorkeeper
        if doorkeeper is not None and (self.command, address.path) == ("POST", PATH):
            return self._receive(doorkeeper, body)
        peer = self._peer()
        for route in self.server.routes:
            match = route.pattern.fullmatch(address.path)
            if match and route.method == self.command:
                query = {key: values[-1] for key, values in parse_qs(address.query).items()}
                return route.handler(
                    Request(self.command, address.path, match.groupdict(), query, address.query, peer, body)
                )
        raise Refused(NOT_FOUND, "not-found", f"no {self.command} {address.path} here")

    def _receive(self, doorkeeper: Doorkeeper, body: Body) -> Response:
        try:
            self._introduced = doorkeeper.receive(self.request, body.read(MOST_BYTES))
        except UnknownPeer as error:
            log.warning("refused the introduction of %s: %s", self.client_address[0], error)
            raise Refused(UNAUTHORISED, "unknown-peer", str(error)) from error
        return Response(OK, {"token": base64.b64encode(self._introduced.answer).decode()})

    def _peer(self) -> Peer:
        if self._introduced is not None:
            return self._introduced.peer
        try:
            return peer_of(self.request.getpeercert() or {})
        except UnknownPeer as error:
            log.warning("refused %s %s: %s", self.command, self.path, error)
            raise Refused(FORBIDDEN, "unknown-peer", str(error)) from error

    def _send(self, response: Response) -> None:
        content = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
        self.send_response_only(response.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if response.status == NO_SPACE:
            self.send_header("Retry-After", str(RETRY_AFTER_S))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
