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

    def coming(self) -> asyncio.Event:
        """Return what the next notification sets: taken before looking for news, none is missed while looking."""
        return self._event

    async def wait(self, seconds: float, coming: asyncio.Event | None = None) -> None:
        """Return when notified, from now on or since ``coming`` was taken, or after ``seconds``."""
        await set_within(coming or self._event, seconds)


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Return when an event is set, or after ``seconds``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
