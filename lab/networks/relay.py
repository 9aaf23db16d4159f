"""``python -m lab.networks.relay --namespace NAME --listen ADDRESS:PORT --to ADDRESS:PORT``.

Machines of a lab reach a service of this host at an address inside the lab's network namespace, and nothing else of
this host. Bytes are passed on as they are: TLS stays between the two ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("lab.networks.relay")

NAMESPACES = Path("/run/netns")
OWN = Path("/proc/self/ns/net")
CLONE_NEWNET = 0x40000000
PIECE = 256 << 10
CONNECT_S = 10.0
BACKLOG = 64


@dataclass(frozen=True)
class Place:
    """An IPv4 address and a TCP port."""

    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ``ADDRESS:PORT``. Raises ValueError."""
        address, _, port = text.rpartition(":")
        return cls(address, int(port))


@contextlib.contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """Make sockets in another network namespace. Raises OSError."""
    # os.setns came with Python 3.12.
    setns = ctypes.CDLL(None, use_errno=True).setns
    with OWN.open() as home, namespace.open() as there:
        _enter(setns, there.fileno())
        try:
            yield
        finally:
            _enter(setns, home.fileno())


def listener_in(namespace: Path, place: Place) -> socket.socket:
    """Return a listening socket that belongs to a namespace. Raises OSError."""
    with inside(namespace):
        listener = socket.socket()
    # A socket stays in the namespace in which it was made.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((place.address, place.port))
    listener.listen(BACKLOG)
    return listener


async def relay(listener: socket.socket, to: Place, ended: asyncio.Event) -> None:
    """Pass connections on until ``ended``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connecting = asyncio.open_connection(to.address, to.port, limit=PIECE)
            far_reader, far_writer = await asyncio.wait_for(connecting, CONNECT_S)
        except (OSError, TimeoutError) as error:
            log.warning("%s:%d: %s", to.address, to.port, error)
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(serve, sock=listener, limit=PIECE)
    async with server:
        await ended.wait()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def _enter(setns: Callable[[int, int], int], descriptor: int) -> None:
    if setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


async def _run(listener: socket.socket, to: Place) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await relay(listener, to, ended)


def main(arguments: list[str] | None = None) -> int:
    """Relay until SIGTERM or SIGINT and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.networks.relay")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--listen", type=Place.parse, required=True)
    parser.add_argument("--to", type=Place.parse, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if "/" in given.namespace:
        parser.error("--namespace: the name of a namespace is expected")
    try:
        listener = listener_in(NAMESPACES / given.namespace, given.listen)
    except OSError as error:
        log.error("%s:%d in %s: %s", given.listen.address, given.listen.port, given.namespace, error)  # noqa: TRY400
        return 2
    log.info("relays %s:%d", given.listen.address, given.listen.port)
    asyncio.run(_run(listener, given.to))
    return 0


if __name__ == "__main__":
    sys.exit(main())
