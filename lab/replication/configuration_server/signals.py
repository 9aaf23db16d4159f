"""Waking coroutines that wait for news, each with its own time limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Signal:
    """Wakes everyone who waits now; who comes later waits for the next time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float) -> None:
        """Return when notified, or after ``seconds``."""
        event = self._event
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
