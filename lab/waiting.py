"""Waiting for conditions with a deadline. Standard library only: guests use it too."""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class DeadlineExceeded(TimeoutError):
    """A condition did not come true in time; the message says which and for how long it was awaited."""


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock that every blocking call below it respects."""

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining == 0.0

    def clamp(self, seconds: float) -> float:
        """Return ``seconds``, or what remains if that is less."""
        return min(seconds, self.remaining)


def wait_until(
    probe: Callable[[], T | None],
    deadline: Deadline,
    what: str,
    *,
    every: float = 0.25,
    explain: Callable[[], str] | None = None,
) -> T:
    """Call ``probe`` every ``every`` seconds until it returns something true, and return that.

    ``explain`` adds the last known state to the error.

    Raises:
        DeadlineExceeded: the deadline passed first.
    """
    pause = threading.Event()
    while True:
        value = probe()
        if value:
            return value
        if deadline.expired:
            detail = f": {explain()}" if explain else ""
            raise DeadlineExceeded(f"no {what} within {deadline.seconds:.0f} s{detail}")
        pause.wait(deadline.clamp(every))


class EndOfService:
    """SIGTERM and SIGINT, from now on. To be made by the main thread.

    Not an event that the handler sets: Python runs it only when the main thread comes back to it. A signal in the
    instant before that thread begins to wait was lost that way, and a provider went on for ever.
    """

    def __init__(self) -> None:
        self._told, self._teller = socket.socketpair()
        self._teller.setblocking(False)
        signal.set_wakeup_fd(self._teller.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether one came, at the latest after ``seconds``; None: wait for it."""
        return bool(select.select([self._told], [], [], seconds)[0])
