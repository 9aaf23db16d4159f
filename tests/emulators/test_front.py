"""The server under every emulated API: what holds of a connection whatever is spoken over it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from lab.emulators.common.front import Front, LoopbackServer

BODY = 1 << 20


class _RefusesEarly(BaseHTTPRequestHandler):
    """Answers as soon as it has the headers, as a limit on bodies does."""

    def do_POST(self) -> None:
        self.send_response(413)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - overrides
        pass


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    tls = request.param
    front = Front(LoopbackServer(0, _RefusesEarly), tmp_path, "front.localdomain", tls=tls).start()
    try:
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as plain:
            if not tls:
                yield plain
                return
            context = ssl.create_default_context(cafile=front.certificate)
            context.check_hostname = False
            with context.wrap_socket(plain) as secret:
                yield secret
    finally:
        front.close()


def test_an_answer_before_the_end_of_the_body_arrives(connection: socket.socket) -> None:
    connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % BODY)
    first = connection.recv(1)
    for _ in range(16):
        connection.sendall(b"x" * (BODY // 16))
    rest = b"".join(iter(lambda: connection.recv(1 << 12), b""))
    assert (first + rest).startswith(b"HTTP/1.0 413 ")
