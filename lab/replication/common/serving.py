"""Running an asyncio server as a program: from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol


class Server(Protocol):
    """A server inside an event loop; ``start`` and ``close`` once each."""

    @property
    def port(self) -> int:
        """Where it listens, once it is started."""

    async def start(self) -> None:
        """Begin to serve."""

    async def close(self) -> None:
        """Serve no more."""


async def serve_until_signalled(build: Callable[[], Server], serving: Callable[[int], None]) -> None:
    """Build a server, serve until SIGTERM or SIGINT, and close it; ``serving`` is told the port."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = build()
    await server.start()
    serving(server.port)
    await ended.wait()
    await server.close()
