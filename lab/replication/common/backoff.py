"""Waiting longer after every failure, and not at all when the service is asked to stop."""

from __future__ import annotations

import threading


class Backoff:
    """Pauses that double from ``first`` to ``longest`` seconds until ``reset``."""

    def __init__(self, stop: threading.Event, first: float = 0.2, longest: float = 5.0) -> None:
        self._stop = stop
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> bool:
        """Wait; return False as soon as the service has to stop."""
        stopped = self._stop.wait(self._next)
        self._next = min(self._next * 2, self._longest)
        return not stopped

    def reset(self) -> None:
        """Start again with the shortest pause: something has worked."""
        self._next = self._first
