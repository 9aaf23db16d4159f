"""What a test makes go wrong: the next call of a method fails, is slow, or loses its connection."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fail:
    """The call ends with a fault, of the kind that the emulated product has."""

    fault: Any


@dataclass(frozen=True)
class Delay:
    """The call begins so many seconds late."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """The connection is closed without an answer; ``after``: when the work is done, else before it begins."""

    after: bool = False


Mishap = Fail | Delay | Drop


class Faults:
    """A queue of mishaps for each method, by the name that the product gives it; places of a server have names too."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Mishap]] = defaultdict(deque)
        self._lock = threading.Lock()

    def next(self, method: str, *mishaps: Mishap) -> None:
        """Make the next calls of a method go wrong, each by one of ``mishaps``."""
        with self._lock:
            self._waiting[method].extend(mishaps)

    def take(self, method: str) -> Mishap | None:
        """Return what is to happen to a call that begins now."""
        with self._lock:
            waiting = self._waiting.get(method)
            return waiting.popleft() if waiting else None
