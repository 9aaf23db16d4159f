"""TCP from this host into a lab network, through a machine's SSH connection."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import paramiko

OPEN_SECONDS = 20.0
BUFFER = 1 << 16


@dataclass(frozen=True)
class Tunnel:
    """The local end: connect here."""

    host: str
    port: int


@contextmanager
def open_tunnel(transport: Callable[[], paramiko.Transport], address: str, port: int) -> Iterator[Tunnel]:
    """Carry connections to ``address:port``; each connection is one channel of whatever transport is current."""

    class Carry(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(paramiko.SSHException, OSError, EOFError):
                peer = self.request.getpeername()
                channel = transport().open_channel("direct-tcpip", (address, port), peer, timeout=OPEN_SECONDS)
                with channel:
                    _copy_both_ways(self.request, channel)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Carry) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield Tunnel("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _copy_both_ways(local: socket.socket, channel: paramiko.Channel) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(local, selectors.EVENT_READ, channel)
        selector.register(channel, selectors.EVENT_READ, local)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(BUFFER)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)
