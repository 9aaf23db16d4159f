"""A threaded server on loopback, and the thread that serves."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Self

from lab.emulators.common.certificate import make_certificate

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 << 20


class LoopbackServer(ThreadingHTTPServer):
    """Answers in threads. Over TLS the handshake is the handler's: one idle client must not block the others.

    ``address``: another one than loopback's, inside of a namespace of the lab.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], address: str = LOOPBACK) -> None:
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        """Bind, and ask no name service who that is: there is none in a namespace of the lab."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def protect(self, certificate: Path, key: Path) -> None:
        """Speak TLS with this certificate from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection without losing the answer: the kernel drops it when more of the client comes after it."""
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(LINGER_SECONDS)
            left = LINGER_BYTES
            while left > 0 and (block := request.recv(min(left, 1 << 16))):
                left -= len(block)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - overrides
        """Keep a broken connection out of the output."""
        log.debug("a connection broke: %r", sys.exception())


class Front:
    """A server and its thread; the certificate and key of one with TLS are in ``home``."""

    def __init__(self, server: LoopbackServer, home: Path, common_name: str, *, tls: bool = True) -> None:
        self.certificate = home / "certificate.pem"
        self._server = server
        if tls:
            make_certificate(self.certificate, home / "key.pem", common_name)
            server.protect(self.certificate, home / "key.pem")
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name=common_name, daemon=True
        )

    @property
    def port(self) -> int:
        """The port of loopback."""
        return int(self._server.server_address[1])

    def start(self) -> Self:
        """Serve from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving; what is served is the caller's to close."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
