"""One kept HTTPS connection to one server, for small JSON calls and for bulk bodies."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from lab.replication.common.config import Endpoint
from lab.replication.common.durable import JSON
from lab.replication.common.introduction import Introduction

Buffer = bytes | bytearray | memoryview


class Unreachable(ConnectionError):
    """The server did not answer: refused, broken, or silent for longer than the time-out."""


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def json(self) -> JSON:
        """The body as a JSON object; an empty one if it is something else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def created_or_known(self) -> bool:
        """Whether the server has the document now."""
        return self.status in (http.client.OK, http.client.CREATED)


@dataclass(frozen=True)
class Body:
    """A request body that can be produced again for a second attempt; without ``length`` it goes in chunks."""

    parts: Callable[[], Iterable[Buffer]]
    length: int | None


def stream_path(stream: str, *more: str | int) -> str:
    """Return the path of a stream at a data port."""
    return "/".join(["/v1/streams", *(quote(str(part), safe="") for part in (stream, *more))])


class Link:
    """A connection that is opened when needed and kept; calls from several threads take turns.

    ``timeout`` (seconds) bounds every read and write on the socket, not the whole call. ``introduction`` is for a
    context without a certificate.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        timeout: float = 60.0,
        introduction: Introduction | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._timeout = timeout
        self._introduction = introduction
        self._lock = threading.Lock()
        self._connection: http.client.HTTPSConnection | None = None
        self._aborted = False

    def call(self, method: str, path: str, value: JSON | None = None) -> Reply:
        """Send ``value`` as JSON and return the reply.

        Raises:
            Unreachable: there is no answer.
        """
        data = json.dumps(value).encode() if value is not None else b""
        return self.send(method, path, Body(lambda: [data] if data else [], len(data)))

    def send(self, method: str, path: str, body: Body) -> Reply:
        """Send ``body`` and return the reply; a kept connection that turns out dead is replaced once.

        Raises:
            Unreachable: there is no answer.
        """
        with self._lock:
            kept = self._connection is not None
            try:
                return self._exchange(method, path, body)
            except TimeoutError as error:
                self._drop()
                raise Unreachable(f"{self._endpoint.address}:{self._endpoint.port} is silent: {error}") from error
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if not kept:
                    raise self._unreachable(error) from error
            try:
                return self._exchange(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                raise self._unreachable(error) from error

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            self._drop()

    def abort(self) -> None:
        """Break the call that another thread is in and refuse all later ones: the service ends."""
        self._aborted = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # Closing would not wake the thread that waits on the socket; shutting it down does.
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self._endpoint.address}:{self._endpoint.port}: {type(error).__name__}: {error}")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(
            self._endpoint.address, self._endpoint.port, context=self._context, timeout=self._timeout
        )
        # Before the introduction: ``abort`` has to be able to break that too.
        self._connection = connection
        if self._introduction is not None:
            with contextlib.ExitStack() as unless_known:
                unless_known.callback(self._drop)
                connection.connect()
                # It would open another by itself, on which nobody was introduced.
                connection.auto_open = 0
                self._introduction.introduce(connection)
                unless_known.pop_all()
        return connection

    def _exchange(self, method: str, path: str, body: Body) -> Reply:
        if self._aborted:
            raise ConnectionAbortedError("the service is ending")
        connection = self._connection or self._open()
        framing = {"Transfer-Encoding": "chunked"} if body.length is None else {"Content-Length": str(body.length)}
        parts = _chunked(body.parts()) if body.length is None else iter(body.parts())
        connection.request(method, path, parts, framing)
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            self._drop()
        pause = response.headers.get("Retry-After")
        return Reply(response.status, content, float(pause) if pause and pause.isdigit() else None)


def _chunked(parts: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield a body in chunks (RFC 9112 section 7.1); the standard library would copy each part once more."""
    before = b""
    for part in parts:
        if part:
            yield b"%s%X\r\n" % (before, len(part))
            yield part
            before = b"\r\n"
    yield before + b"0\r\n\r\n"
