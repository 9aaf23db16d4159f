"""Callers who need a machine for themselves take turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.waiting import Deadline, DeadlineExceeded


class Turns:
    """One turn at a time for each name; threads of one process only."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def of(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Have the turn inside the block. Raises DeadlineExceeded when the others take too long."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=deadline.remaining):
            raise DeadlineExceeded(f"no turn at {name} within {deadline.seconds:.0f} s")
        try:
            yield
        finally:
            lock.release()
